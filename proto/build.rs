//! Generates the gRPC code of every contract in this folder.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tonic_prost_build::configure()
        .bytes(".")
        .compile_protos(&["vmm.proto", "guest.proto"], &["."])?;
    Ok(())
}
