"""The toolchain channel: a stand-in for the few dozen conda-forge names that builds need.

It is made from package registries alone, where conda-forge does not answer. `lock` says what goes
in, `resolve` writes that lock, `fetch` brings the files, `wheel`, `interpreter`, `rust` and
`compiler` lay each out as a prefix, `package` turns a prefix into a .conda, and `bootstrap` does
all of it in order.
"""
