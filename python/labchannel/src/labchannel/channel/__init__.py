"""The channel folder: its layout, its indexes, atomic publication, verification, and a server."""
