//! One layer: a (compressed) tar becomes one EROFS file. The tar is hostile: sizes, names and
//! headers are bounded, and nothing of it is ever unpacked on the host.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::erofs::{self, Attributes, Kind, TreeError, Writer};

/// Uncompressed bytes of one layer; more is taken for a bomb.
const LAYER_BYTES_MAX: u64 = 64 << 30;
/// Bytes of one extended header (PAX records, GNU long name).
const EXTENDED_HEADER_BYTES_MAX: u64 = 1 << 20;
/// OCI image layer specification: a file with this prefix deletes its namesake below.
const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the layer: {source}")]
    Read { source: io::Error },
    #[error("write the layer: {source}")]
    Write { source: io::Error },
    #[error(transparent)]
    Erofs(#[from] erofs::Error),
    #[error("unpack {path:?}: {what}")]
    Unsupported { path: String, what: &'static str },
    #[error("the layer's contents are {found}, expected {expected}")]
    Mismatch { expected: String, found: String },
}

impl From<TreeError> for Error {
    fn from(error: TreeError) -> Error {
        Error::Erofs(erofs::Error::Tree(error))
    }
}

/// Converts the layer and moves it to `destination`, whole and on disk, or not at all.
/// `diff_id` is the digest of the uncompressed tar. Returns the size of the EROFS file in bytes.
pub fn convert(
    compressed: impl Read,
    diff_id: &str,
    destination: &Path,
    temporary: &Path,
) -> Result<u64, Error> {
    let result = write_image(compressed, diff_id, temporary).and_then(|size| {
        fs::rename(temporary, destination)
            .and_then(|()| sync_directory(destination))
            .map_err(|source| Error::Write { source })?;
        Ok(size)
    });
    if result.is_err() {
        // The next try starts anew; a leftover is also swept when the store opens.
        let _ = fs::remove_file(temporary);
    }
    result
}

fn sync_directory(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn write_image(compressed: impl Read, diff_id: &str, path: &Path) -> Result<u64, Error> {
    let plain = decompress(compressed).map_err(|source| Error::Read { source })?;
    let mut hashed = Hashed { inner: plain.take(LAYER_BYTES_MAX), hasher: Sha256::new() };
    let mut writer = Writer::create(path)?;
    read_entries(&mut hashed, &mut writer)?;
    io::copy(&mut hashed, &mut io::sink()).map_err(|source| Error::Read { source })?;
    let found = format!("sha256:{}", hex::encode(hashed.hasher.finalize()));
    if found != diff_id {
        return Err(Error::Mismatch { expected: diff_id.to_owned(), found });
    }
    Ok(writer.finish()?)
}

/// Undoes gzip or zstd, told by the first bytes: media types lie more often than magic numbers.
fn decompress<'a>(compressed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut compressed = BufReader::with_capacity(256 << 10, compressed);
    let start = compressed.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(compressed)))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Ok(Box::new(zstd::Decoder::with_buffer(compressed)?))
    } else {
        Ok(Box::new(compressed))
    }
}

/// Digests what is read through it.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        Ok(got)
    }
}

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    attributes: Attributes,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    sparse: bool,
}

fn read_entries(tar: impl Read, writer: &mut Writer) -> Result<(), Error> {
    let mut archive = tar::Archive::new(tar);
    let read = |source| Error::Read { source };
    let mut extended = Extended::default();
    // Raw: the crate would read extended headers of any size into memory.
    for entry in archive.entries().map_err(read)?.raw(true) {
        let mut entry = entry.map_err(read)?;
        match entry.header().entry_type() {
            EntryType::XHeader => read_pax(&extended_header(&mut entry)?, &mut extended),
            EntryType::GNULongName => extended.path = Some(long_name(&mut entry)?),
            EntryType::GNULongLink => extended.link = Some(long_name(&mut entry)?),
            EntryType::XGlobalHeader => {}
            _ => add_entry(&mut entry, std::mem::take(&mut extended), writer)?,
        }
    }
    Ok(())
}

fn extended_header(entry: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut limited = entry.take(EXTENDED_HEADER_BYTES_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(|source| Error::Read { source })?;
    if bytes.len() as u64 > EXTENDED_HEADER_BYTES_MAX {
        return Err(Error::Unsupported {
            path: String::new(),
            what: "an extended header is too long",
        });
    }
    Ok(bytes)
}

fn long_name(entry: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut name = extended_header(entry)?;
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    Ok(name)
}

fn read_pax(bytes: &[u8], extended: &mut Extended) {
    for record in tar::PaxExtensions::new(bytes).flatten() {
        let (Ok(key), value) = (record.key(), record.value_bytes()) else { continue };
        let text = std::str::from_utf8(value).unwrap_or_default();
        match key {
            "path" => extended.path = Some(value.to_vec()),
            "linkpath" => extended.link = Some(value.to_vec()),
            "size" => extended.size = text.parse().ok(),
            "uid" => extended.uid = text.parse().ok(),
            "gid" => extended.gid = text.parse().ok(),
            "mtime" => extended.mtime = parse_time(text),
            _ if key.starts_with("GNU.sparse.") => extended.sparse = true,
            _ => {
                // `trusted.` is ours (overlay), not the image's.
                let name = key.strip_prefix("SCHILY.xattr.").map(str::as_bytes);
                if let Some(name) = name.filter(|name| !name.starts_with(b"trusted.")) {
                    extended.attributes.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
    }
}

/// `1700000000.123456789` to seconds and nanoseconds.
fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    Some((seconds, digits.parse().ok()?))
}

fn add_entry<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    extended: Extended,
    writer: &mut Writer,
) -> Result<(), Error> {
    let header = entry.header().clone();
    let path = extended.path.clone().unwrap_or_else(|| header.path_bytes().into_owned());
    let size = header.entry_size().map_err(|source| Error::Read { source })?;
    let unsupported =
        |what| Error::Unsupported { path: String::from_utf8_lossy(&path).into(), what };
    if extended.sparse || extended.size.is_some_and(|stated| stated != size) {
        return Err(unsupported(
            "sparse files and sizes of 8 GiB in PAX headers are not supported",
        ));
    }
    if add_whiteout(&path, writer)? {
        return Ok(());
    }
    let link = || {
        let link = extended.link.clone().or_else(|| header.link_name_bytes().map(Into::into));
        link.ok_or_else(|| unsupported("a link without a target"))
    };
    let attributes = attributes(&header, &extended);
    let device = || {
        let number = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or(0);
        (number(header.device_major()), number(header.device_minor()))
    };
    match header.entry_type() {
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => {
            writer.tree.insert(&path, Kind::Directory(Default::default()), attributes)?;
        }
        EntryType::Regular | EntryType::Continuous => {
            writer.add_file(&path, attributes, entry, size)?;
        }
        EntryType::Directory => {
            writer.tree.insert(&path, Kind::Directory(Default::default()), attributes)?;
        }
        EntryType::Symlink => writer.tree.insert(&path, Kind::Symlink(link()?), attributes)?,
        EntryType::Link => writer.tree.insert_hard_link(&path, &link()?)?,
        EntryType::Char => {
            let (major, minor) = device();
            writer.tree.insert(&path, Kind::Character { major, minor }, attributes)?;
        }
        EntryType::Block => {
            let (major, minor) = device();
            writer.tree.insert(&path, Kind::Block { major, minor }, attributes)?;
        }
        EntryType::Fifo => writer.tree.insert(&path, Kind::Fifo, attributes)?,
        _ => return Err(unsupported("an entry of an unknown type")),
    }
    Ok(())
}

fn attributes(header: &tar::Header, extended: &Extended) -> Attributes {
    let id = |value: io::Result<u64>| value.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
    let seconds = header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
    let (mtime, mtime_nanoseconds) = extended.mtime.unwrap_or((seconds, 0));
    Attributes {
        permissions: u16::try_from(header.mode().unwrap_or(0) & 0o7777).expect("12 bits"),
        uid: extended.uid.unwrap_or_else(|| id(header.uid())),
        gid: extended.gid.unwrap_or_else(|| id(header.gid())),
        mtime,
        mtime_nanoseconds,
        xattrs: extended.attributes.xattrs.clone(),
    }
}

/// Turns OCI whiteouts into overlayfs' own. Returns whether the entry was one.
fn add_whiteout(path: &[u8], writer: &mut Writer) -> Result<bool, Error> {
    let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (directory, name) = path.split_at(cut);
    if name == OPAQUE_WHITEOUT {
        writer.tree.mark_opaque(directory)?;
    } else if name.starts_with(b".wh..wh.") {
        // AUFS's own bookkeeping.
    } else if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX).filter(|name| !name.is_empty())
    {
        let path = [directory, hidden].concat();
        let whiteout = Kind::Character { major: 0, minor: 0 };
        writer.tree.insert(&path, whiteout, Attributes::default())?;
    } else {
        return Ok(false);
    }
    Ok(true)
}
