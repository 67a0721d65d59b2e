//! Decides the answer to one query. Pure: records and query in, decision out.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::records::{Entry, Records};

/// UDP payload offered and used at most: fits every path without fragments (DNS flag day 2020).
pub const UDP_BYTES_MAX: u16 = 1232;
const UDP_BYTES_MIN: u16 = 512;
/// Seconds clients may remember that a name does not exist.
const NEGATIVE_TTL: u32 = 5;
const POD_TTL: u32 = 5;
/// Aliases followed inside the cluster.
const ALIASES_MAX: usize = 8;

/// What to do with a query.
#[derive(Debug)]
pub enum Decision {
    Reply(Message),
    /// The name is not ours: ask upstream.
    Forward,
    /// An alias leads out of the cluster: add upstream's answer for `target`, or send what is here.
    Chase {
        reply: Message,
        target: Name,
    },
}

/// The answer to `query`, or who has it.
pub fn answer(records: &Records, query: &Message) -> Decision {
    let [question] = query.queries.as_slice() else {
        return Decision::Reply(failure(query, ResponseCode::FormErr));
    };
    if query.message_type != MessageType::Query {
        return Decision::Reply(failure(query, ResponseCode::FormErr));
    }
    if query.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
        return Decision::Reply(failure(query, ResponseCode::NotImp));
    }
    let name = text(question.name());
    if is_inside(&name, &records.domain) {
        return answer_inside(records, query, question, name);
    }
    match reverse_address(question) {
        Some(address) => answer_reverse(records, query, question, address),
        None => Decision::Forward,
    }
}

/// A reply without records: FORMERR, SERVFAIL, REFUSED and the like.
pub fn failure(query: &Message, code: ResponseCode) -> Message {
    let mut reply = reply_to(query);
    reply.metadata.authoritative = false;
    reply.metadata.response_code = code;
    reply
}

/// Bytes a UDP reply to this query may have.
pub fn udp_limit(query: &Message) -> usize {
    let offered = query.edns.as_ref().map_or(UDP_BYTES_MIN, Edns::max_payload);
    usize::from(offered.clamp(UDP_BYTES_MIN, UDP_BYTES_MAX))
}

fn answer_inside(records: &Records, query: &Message, question: &Query, name: String) -> Decision {
    if !records.known {
        return Decision::Reply(failure(query, ResponseCode::ServFail));
    }
    let mut reply = reply_to(query);
    let kind = question.query_type();
    let mut name = name;
    for _ in 0..ALIASES_MAX {
        let owner = if reply.answers.is_empty() { question.name().clone() } else { parse(&name) };
        let Some(entry) = find(records, &name) else {
            reply.metadata.response_code = ResponseCode::NXDomain;
            break;
        };
        let Some(target) = entry.alias.as_ref().filter(|_| kind != RecordType::CNAME) else {
            let found = records_of(&owner, &entry, kind);
            add_targets(&mut reply, records, kind, &found);
            let shift = usize::from(query.id) % found.len().max(1);
            reply.answers.extend_from_slice(&found[shift..]);
            reply.answers.extend_from_slice(&found[..shift]);
            break;
        };
        let alias = RData::CNAME(CNAME(parse(target)));
        reply.answers.push(Record::from_rdata(owner, entry.ttl, alias));
        if !is_inside(target, &records.domain) {
            return Decision::Chase { target: parse(target), reply };
        }
        name.clone_from(target);
    }
    if reply.answers.is_empty() || reply.metadata.response_code == ResponseCode::NXDomain {
        reply.authorities.push(start_of_authority(&records.domain));
    }
    Decision::Reply(reply)
}

/// Names in the index, and pods' own names, which say their address.
fn find(records: &Records, name: &str) -> Option<Entry> {
    if let Some(entry) = records.get(name) {
        return Some(entry.clone());
    }
    let pods = name.strip_suffix(&records.domain)?.strip_suffix(".pod.")?;
    let mut entry = Entry { ttl: POD_TTL, ..Entry::default() };
    match pods.split_once('.') {
        None if !pods.is_empty() => Some(entry),
        Some((dashed, namespace)) if !namespace.is_empty() && !namespace.contains('.') => {
            let canonical = |address: &Ipv4Addr| address.to_string().replace('.', "-") == dashed;
            let address = dashed.replace('-', ".").parse().ok().filter(canonical)?;
            entry.addresses.insert(address);
            Some(entry)
        }
        _ => None,
    }
}

fn records_of(owner: &Name, entry: &Entry, kind: RecordType) -> Vec<Record> {
    let any = kind == RecordType::ANY;
    let mut data = Vec::new();
    if any || kind == RecordType::A {
        data.extend(entry.addresses.iter().map(|address| RData::A(A(*address))));
    }
    if any || kind == RecordType::SRV {
        let weight = u16::try_from(100 / entry.services.len().max(1)).unwrap_or(1).max(1);
        let services = entry.services.iter();
        data.extend(
            services.map(|(port, target)| RData::SRV(SRV::new(0, weight, *port, parse(target)))),
        );
    }
    if any || kind == RecordType::CNAME {
        data.extend(entry.alias.iter().map(|target| RData::CNAME(CNAME(parse(target)))));
    }
    if any || kind == RecordType::TXT {
        data.extend(entry.text.map(|text| RData::TXT(TXT::new(vec![text.to_owned()]))));
    }
    data.into_iter().map(|data| Record::from_rdata(owner.clone(), entry.ttl, data)).collect()
}

/// The addresses of SRV targets, so that clients need not ask again.
fn add_targets(reply: &mut Message, records: &Records, kind: RecordType, found: &[Record]) {
    if kind != RecordType::SRV {
        return;
    }
    for record in found {
        if let RData::SRV(service) = &record.data
            && let Some(entry) = records.get(&text(&service.target))
        {
            let addresses = records_of(&service.target, entry, RecordType::A);
            for address in addresses {
                if !reply.additionals.contains(&address) {
                    reply.additionals.push(address);
                }
            }
        }
    }
}

fn reverse_address(question: &Query) -> Option<Ipv4Addr> {
    let network = question.name().parse_arpa_name().ok()?;
    match (network.addr(), network.prefix_len()) {
        (IpAddr::V4(address), 32) => Some(address),
        _ => None,
    }
}

fn answer_reverse(
    records: &Records,
    query: &Message,
    question: &Query,
    address: Ipv4Addr,
) -> Decision {
    let names: Vec<&str> = records.names_of(address).collect();
    if names.is_empty() {
        return Decision::Forward;
    }
    let mut reply = reply_to(query);
    if matches!(question.query_type(), RecordType::PTR | RecordType::ANY) {
        for name in names {
            let data = RData::PTR(PTR(parse(name)));
            reply.answers.push(Record::from_rdata(question.name().clone(), POD_TTL, data));
        }
    } else {
        reply.authorities.push(start_of_authority(&records.domain));
    }
    Decision::Reply(reply)
}

fn reply_to(query: &Message) -> Message {
    let mut reply = Message::response(query.id, query.op_code);
    reply.metadata.recursion_desired = query.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = true;
    reply.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX);
        reply.set_edns(edns);
    }
    reply
}

fn start_of_authority(domain: &str) -> Record {
    let server = parse(&format!("ns.dns.{domain}"));
    let mailbox = parse(&format!("hostmaster.{domain}"));
    let soa = SOA::new(server, mailbox, 1, 7200, 1800, 86400, NEGATIVE_TTL);
    Record::from_rdata(parse(domain), NEGATIVE_TTL, RData::SOA(soa))
}

fn is_inside(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// A name of the index. What the API allowed but DNS does not becomes the root.
fn parse(name: &str) -> Name {
    let mut parsed = Name::from_ascii(name).unwrap_or_else(|_| Name::root());
    parsed.set_fqdn(true);
    parsed
}

#[cfg(test)]
mod tests;
