//! A CertificateSigningRequest's status: conditions and the certificate.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{items, text};
use crate::rules::problems::Problems;

const CONDITIONS: &str = "status.conditions";
const KEPT: [&str; 3] = ["Approved", "Denied", "Failed"];
/// What a DER certificate begins with.
const SEQUENCE: u8 = 0x30;

pub(super) fn validate(status: &Value, before: &Value, problems: &mut Problems) {
    check_conditions(status, before, problems);
    let (certificate, held) = (text(status, "certificate"), text(before, "certificate"));
    if certificate != held {
        let path = "status.certificate";
        if let Err(problem) = check_pem(certificate) {
            problems.invalid_text(path, "<certificate data>", &problem);
        }
    }
    for kind in KEPT {
        let count =
            |status| items(status, "conditions", "").filter(|one| one.1["type"] == kind).count();
        if count(status) < count(before) {
            let detail = format!("updates may not remove a condition of type {kind:?}");
            problems.forbidden(CONDITIONS, &detail);
        }
    }
    if certificate != held && !held.is_empty() {
        let detail = "updates may not modify existing certificate content";
        problems.forbidden("status.certificate", detail);
    }
}

/// What stored conditions are already wrong about is let through.
struct Leniency {
    both: bool,
    duplicates: bool,
    untyped: bool,
}

fn leniency(before: &Value) -> Leniency {
    let types: Vec<&str> =
        items(before, "conditions", "").map(|(_, one)| text(one, "type")).collect();
    let distinct: BTreeSet<&str> = types.iter().copied().collect();
    Leniency {
        both: distinct.contains("Approved") && distinct.contains("Denied"),
        duplicates: distinct.len() < types.len(),
        untyped: distinct.contains(""),
    }
}

fn check_conditions(status: &Value, before: &Value, problems: &mut Problems) {
    let lenient = leniency(before);
    let mut seen = BTreeSet::new();
    for (path, condition) in items(status, "conditions", "status") {
        let kind = text(condition, "type");
        if kind.is_empty() && !lenient.untyped {
            problems.required(&format!("{path}.type"), "");
        }
        let allowed: &[&str] =
            if KEPT.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        let (at, held) = (format!("{path}.status"), text(condition, "status"));
        if held.is_empty() {
            problems.required(&at, "");
        } else if !allowed.contains(&held) {
            problems.not_supported(&at, &condition["status"], allowed);
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(other) && !lenient.both {
            let detail = "Approved and Denied conditions are mutually exclusive";
            problems.invalid(CONDITIONS, &json!(kind), detail);
        }
        if !seen.insert(kind) && !lenient.duplicates {
            problems.duplicate(&format!("{path}.type"), &json!(kind));
        }
    }
}

/// Nothing, or blocks of certificates without headers. What is in a block is only looked at from outside.
fn check_pem(encoded: &str) -> Result<(), String> {
    let Some(bytes) = STANDARD.decode(encoded).ok().filter(|bytes| !bytes.is_empty()) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    let mut lines = text.lines().peekable();
    let mut blocks = 0;
    while let Some(line) = lines.next() {
        let Some(kind) = boundary(line, "BEGIN") else { continue };
        let mut body = Vec::new();
        let mut closed = false;
        for line in lines.by_ref() {
            if boundary(line, "END") == Some(kind) {
                closed = true;
                break;
            }
            body.push(line);
        }
        if !closed {
            break;
        }
        check_block(kind, &body)?;
        blocks += 1;
    }
    if blocks == 0 {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}

fn boundary<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.trim_end().strip_prefix("-----")?.strip_prefix(word)?.strip_prefix(' ')?;
    rest.strip_suffix("-----")
}

fn check_block(kind: &str, body: &[&str]) -> Result<(), String> {
    if kind != "CERTIFICATE" {
        return Err(format!("only CERTIFICATE PEM blocks are allowed, found {kind:?}"));
    }
    if body.iter().any(|line| line.contains(':')) {
        return Err("no PEM block headers are permitted".to_owned());
    }
    let joined: String = body.iter().flat_map(|line| line.split_whitespace()).collect();
    match STANDARD.decode(joined).unwrap_or_default().first() {
        None => Err("found CERTIFICATE PEM block containing 0 certificates".to_owned()),
        Some(first) if *first != SEQUENCE => Err("x509: malformed certificate".to_owned()),
        Some(_) => Ok(()),
    }
}
