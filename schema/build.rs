//! Generates the wire types from `proto/` without protoc, and keeps the descriptor set beside
//! them for the test that compares it with the committed one.

use std::path::PathBuf;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

const FILES: [&str; 5] = [
    "agon/v1/environment.proto",
    "agon/v1/match.proto",
    "agon/v1/benchmark.proto",
    "agon/v1/submission.proto",
    "agon/v1/recentchange.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Maps are ordered, so that equal content has equal bytes.
    prost_build::Config::new().btree_map(["."]).out_dir(&out).compile_fds(descriptors.clone())?;
    std::fs::write(out.join("descriptors.binpb"), descriptors.encode_to_vec())?;
    let mut names: Vec<String> = Vec::new();
    describe(&descriptors, &mut names);
    std::fs::write(out.join("descriptors.txt"), names.join("\n") + "\n")?;
    Ok(())
}

/// One line a field, in a form that a person can read in a diff.
fn describe(set: &FileDescriptorSet, lines: &mut Vec<String>) {
    for file in &set.file {
        for message in &file.message_type {
            describe_message(file.package(), message, lines);
        }
        for item in &file.enum_type {
            describe_enum(file.package(), item, lines);
        }
    }
}

fn describe_message(scope: &str, message: &DescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        let kind = match field.type_name() {
            "" => format!("{:?}", field.r#type()).to_lowercase(),
            named => named.trim_start_matches('.').to_owned(),
        };
        let label = format!("{:?}", field.label()).to_lowercase();
        let presence = if field.proto3_optional() { " presence" } else { "" };
        let number = field.number();
        lines.push(format!("{name} {number} {} {label} {kind}{presence}", field.name()));
    }
    for nested in &message.nested_type {
        describe_message(&name, nested, lines);
    }
    for item in &message.enum_type {
        describe_enum(&name, item, lines);
    }
}

fn describe_enum(scope: &str, item: &EnumDescriptorProto, lines: &mut Vec<String>) {
    for value in &item.value {
        lines.push(format!("{scope}.{} {} {}", item.name(), value.number(), value.name()));
    }
}
