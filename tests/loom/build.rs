//! The models compile the kernel's files as loom wants them: with its atomics, whose constructors are not `const`.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
