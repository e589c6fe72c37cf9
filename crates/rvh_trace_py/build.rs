//! Tells the crate how it is being built, for `build_info`.

fn main() {
    for name in ["PROFILE", "TARGET"] {
        let value = std::env::var(name).unwrap_or_default();
        println!("cargo::rustc-env=RVH_TRACE_{name}={value}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
