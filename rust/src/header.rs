//! The header page as bytes: made for a new log, and judged before anything of it is believed.
//!
//! Opens no files. The identity (the first 128 bytes) never changes once its magic stands.

use std::convert::TryInto;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use crate::error::Reason;
use crate::layout::{Checked, Field, Hole, HEADER_SIZE, MAX_DATA_SIZE};

pub const VERSION: u32 = 1;
pub const MAGIC: [u8; 8] = *b"\x7fDLShm\r\n";
pub const PAGE: usize = HEADER_SIZE as usize;

pub type Page = [u8; PAGE];

const BYTE_ORDER: usize = 8;
const WORD_BITS: usize = BYTE_ORDER + 4;
const FORMAT_VERSION: usize = WORD_BITS + 4;
const PAGE_SIZE: usize = FORMAT_VERSION + 4;
const COMPATIBLE: usize = PAGE_SIZE + 4;
const INCOMPATIBLE: usize = COMPATIBLE + 8;
const DATA_SIZE: usize = INCOMPATIBLE + 8;
const FLAGS: usize = DATA_SIZE + 8;
const SALT: usize = FLAGS + 8;
const CHECKSUM: usize = 124;

const ORDER_MARK: u32 = 0x0102_0304;
const FEATURE_CHECKSUMS: u64 = 1;
const FLAG_SPARSE: u64 = 1;

/// Where and when a log was last attached after a recovery: what tells a reboot or a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    pub boot_id: u128,
    pub device: u64,
    pub inode: u64,
    /// When the file was made, as the number of an inode is used again; 0 where that is not known.
    pub born: u64,
}

impl Whereabouts {
    pub const FIELDS: [Field; 5] = [
        Field::BootIdHigh,
        Field::BootIdLow,
        Field::Device,
        Field::Inode,
        Field::Born,
    ];

    pub fn of(metadata: &Metadata, boot_id: u128) -> Whereabouts {
        let born = metadata.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Whereabouts {
            boot_id,
            device: metadata.dev(),
            inode: metadata.ino(),
            born: born.map_or(0, |born| born.as_nanos() as u64),
        }
    }

    pub fn from_words([high, low, device, inode, born]: [u64; 5]) -> Whereabouts {
        Whereabouts {
            boot_id: u128::from(high) << 64 | u128::from(low),
            device,
            inode,
            born,
        }
    }

    pub fn words(&self) -> [u64; 5] {
        let [high, low] = [self.boot_id >> 64, self.boot_id].map(|half| half as u64);
        [high, low, self.device, self.inode, self.born]
    }

    /// Without a boot id nothing can be said.
    pub fn is_known(&self) -> bool {
        self.boot_id != 0
    }
}

/// What a log is, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Bytes of the data region.
    pub data_size: u64,
    /// Random; sets this log's checksums apart from those of all others.
    pub salt: u64,
    pub checksums: bool,
    pub sparse: bool,
}

impl Identity {
    pub fn file_length(&self) -> u64 {
        HEADER_SIZE + self.data_size
    }

    /// The header page of a new, empty log; only the magic is missing.
    pub fn page(&self, whereabouts: &Whereabouts) -> Page {
        let mut page = [0; PAGE];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(BYTE_ORDER, &ORDER_MARK.to_ne_bytes());
        put(WORD_BITS, &usize::BITS.to_ne_bytes());
        put(FORMAT_VERSION, &VERSION.to_ne_bytes());
        put(PAGE_SIZE, &(PAGE as u32).to_ne_bytes());
        let features = if self.checksums { FEATURE_CHECKSUMS } else { 0 };
        put(INCOMPATIBLE, &features.to_ne_bytes());
        put(DATA_SIZE, &self.data_size.to_ne_bytes());
        let flags = if self.sparse { FLAG_SPARSE } else { 0 };
        put(FLAGS, &flags.to_ne_bytes());
        put(SALT, &self.salt.to_ne_bytes());
        for field in [Field::Truncation, Field::Generation, Field::Synced] {
            let word = Checked::seal(self.salt, field, 0, 0);
            put(field.offset(), &word.to_ne_bytes());
        }
        put(Field::Hole.offset(), &Hole::NONE.0.to_ne_bytes());
        for (field, word) in Whereabouts::FIELDS.iter().zip(whereabouts.words()) {
            put(field.offset(), &word.to_ne_bytes());
        }
        let checksum = crc32c::crc32c(&page[BYTE_ORDER..CHECKSUM]);
        page[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_ne_bytes());
        page
    }

    /// The identity on a page, whether or not its magic stands.
    fn parse(page: &Page) -> Result<Identity, Reason> {
        let order = u32_at(page, BYTE_ORDER);
        if order != ORDER_MARK {
            return Err(if order == ORDER_MARK.swap_bytes() {
                Reason::ByteOrder
            } else {
                Reason::Checksum
            });
        }
        let bits = u32_at(page, WORD_BITS);
        let version = u32_at(page, FORMAT_VERSION);
        // A later version may have its checksum elsewhere, so it is named first.
        if version != VERSION {
            return Err(Reason::Version { found: version });
        }
        if u32_at(page, CHECKSUM) != crc32c::crc32c(&page[BYTE_ORDER..CHECKSUM]) {
            return Err(Reason::Checksum);
        }
        if bits != usize::BITS {
            return Err(Reason::WordSize { bits });
        }
        let features = u64_at(page, INCOMPATIBLE);
        if features & !FEATURE_CHECKSUMS != 0 {
            let bits = features & !FEATURE_CHECKSUMS;
            return Err(Reason::Features { bits });
        }
        let data_size = u64_at(page, DATA_SIZE);
        if !(1..=MAX_DATA_SIZE).contains(&data_size) {
            return Err(Reason::DataSize { found: data_size });
        }
        Ok(Identity {
            data_size,
            salt: u64_at(page, SALT),
            checksums: features & FEATURE_CHECKSUMS != 0,
            sparse: u64_at(page, FLAGS) & FLAG_SPARSE != 0,
        })
    }
}

/// What the beginning of a file says.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    Log(Identity),
    /// No magic yet: all zeros, or what a killed creator left.
    Unborn(Option<Identity>),
}

/// Judges a file of `length` bytes by its first ones; `head` holds as many as there are, at most a page.
pub fn judge(head: &[u8], length: u64) -> Result<Judgement, Reason> {
    if let Some(name) = foreign(head) {
        return Err(Reason::Foreign { name });
    }
    if length == 0 {
        return Ok(Judgement::Unborn(None));
    }
    let page: &Page = match head.try_into() {
        Ok(page) => page,
        Err(_) => return Err(Reason::TooSmall { length }),
    };
    if page[..MAGIC.len()] == [0; MAGIC.len()] {
        if page.iter().all(|&byte| byte == 0) {
            return Ok(Judgement::Unborn(None));
        }
        return match Identity::parse(page) {
            Ok(identity) => Ok(Judgement::Unborn(Some(identity))),
            Err(_) => Err(Reason::Magic),
        };
    }
    if page[..MAGIC.len()] != MAGIC {
        return Err(Reason::Magic);
    }
    let identity = Identity::parse(page)?;
    if identity.file_length() != length {
        return Err(Reason::Sizes {
            header: identity.file_length(),
            file: length,
        });
    }
    Ok(Judgement::Log(identity))
}

/// The older formats of another implementation begin with these, as a native word.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let word = u32::from_ne_bytes(head.get(..4)?.try_into().ok()?);
    [(0x4c4f_4731, "LOG1"), (0x4c4f_4732, "LOG2")]
        .into_iter()
        .find(|&(magic, _)| magic == word)
        .map(|(_, name)| name)
}

fn u32_at(page: &Page, at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&page[at..at + 4]);
    u32::from_ne_bytes(bytes)
}

fn u64_at(page: &Page, at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&page[at..at + 8]);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Whereabouts = Whereabouts {
        boot_id: 1 << 100 | 7,
        device: 8,
        inode: 9,
        born: 10,
    };

    fn identity() -> Identity {
        Identity {
            data_size: 1000,
            salt: 42,
            checksums: true,
            sparse: false,
        }
    }

    fn born() -> Page {
        let mut page = identity().page(&HERE);
        page[..8].copy_from_slice(&MAGIC);
        page
    }

    #[test]
    fn a_page_with_its_magic_is_a_log_and_without_it_unborn() {
        let length = identity().file_length();
        let judged = |page: &[u8], length| judge(page, length).unwrap();
        assert_eq!(judged(&born(), length), Judgement::Log(identity()));
        let page = identity().page(&HERE);
        assert_eq!(judged(&page, length), Judgement::Unborn(Some(identity())));
        assert_eq!(judged(&[0; PAGE], length), Judgement::Unborn(None));
        assert_eq!(judged(&[], 0), Judgement::Unborn(None));
    }

    #[test]
    fn every_flipped_bit_of_the_identity_is_noticed() {
        for bit in 0..128 * 8 {
            let mut page = born();
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(judge(&page, identity().file_length()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let reason = |page: &[u8], length| judge(page, length).unwrap_err().to_string();
        let length = identity().file_length();
        assert!(reason(&born()[..100], 100).contains("too small"));
        assert!(reason(&born(), length - 1).contains("size"));
        assert!(reason(&born(), length + 1).contains("size"));
        assert!(reason(&[b'x'; PAGE], length).contains("magic"));
        for (magic, name) in [(0x4c4f_4731u32, "LOG1"), (0x4c4f_4732, "LOG2")] {
            assert!(reason(&magic.to_ne_bytes(), 4).contains(name));
        }
        let mut swapped = born();
        swapped[BYTE_ORDER..BYTE_ORDER + 4].reverse();
        assert!(reason(&swapped, length).contains("byte order"));
        let mut later = born();
        later[FORMAT_VERSION] ^= 3;
        assert!(reason(&later, length).contains("version"));
    }

    #[test]
    fn whereabouts_survive_their_words() {
        assert_eq!(Whereabouts::from_words(HERE.words()), HERE);
    }
}
