//! Compresses the debug information of a release, which is more than half of the binary, and sets `isal` where the
//! crate of that name is compiled in.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(isal)");
    // Where `Cargo.toml` has the dependency.
    let has_isal = std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|it| matches!(&*it, "aarch64" | "x86_64"));
    if has_isal && std::env::var("CARGO_FEATURE_ISAL").is_ok() {
        println!("cargo::rustc-cfg=isal");
    }
    if std::env::var("PROFILE").is_ok_and(|it| it == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
}
