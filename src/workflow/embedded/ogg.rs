//! Ogg: the comment header of Opus, Vorbis, Theora and FLAC streams.

use super::source::Source;
use super::{Fault, MAX_TEXT_BYTES, Texts, flac};
use std::collections::BTreeMap;

/// Streams of a file that are looked at.
const MAX_STREAMS: usize = 16;
/// Packets at the beginning of a stream among which the comments are.
const HEADER_PACKETS: usize = 3;

/// A stream's packets so far.
#[derive(Default)]
struct Stream {
    packet: Vec<u8>,
    packets: usize,
}

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let mut streams: BTreeMap<u32, Stream> = BTreeMap::new();
    let mut held = 0;
    let mut at = 0;
    while at < source.len() {
        source.next_part()?;
        let header = source.array::<27>(at)?;
        if !header.starts_with(b"OggS") {
            return Err(Fault::damaged("a page is not where it should be"));
        }
        let [.., s0, s1, s2, s3, _, _, _, _, _, _, _, _, segments] = header;
        let serial = u32::from_le_bytes([s0, s1, s2, s3]);
        let lacing = source.bytes(at + 27, u64::from(segments))?;
        let length: u64 = lacing.iter().map(|length| u64::from(*length)).sum();
        let content_at = at + 27 + u64::from(segments);
        at = content_at + length;
        if !streams.contains_key(&serial) && streams.len() >= MAX_STREAMS {
            continue;
        }
        let stream = streams.entry(serial).or_default();
        if stream.packets >= HEADER_PACKETS {
            if streams
                .values()
                .all(|stream| stream.packets >= HEADER_PACKETS)
            {
                return Ok(());
            }
            continue;
        }
        let content = source.bytes(content_at, length)?;
        held += content.len();
        if held > MAX_TEXT_BYTES {
            return Err(Fault::TooLarge);
        }
        let mut rest = content.as_slice();
        for length in lacing {
            let Some((segment, after)) = rest.split_at_checked(usize::from(length)) else {
                break;
            };
            rest = after;
            stream.packet.extend_from_slice(segment);
            // A segment that is not full ends its packet.
            if length < 255 {
                let packet = std::mem::take(&mut stream.packet);
                held -= packet.len().min(held);
                stream.packets += 1;
                if stream.packets <= HEADER_PACKETS {
                    comments(&packet, texts)?;
                }
            }
        }
    }
    Ok(())
}

fn comments(packet: &[u8], texts: &mut Texts) -> Result<(), Fault> {
    let block = [&b"\x03vorbis"[..], b"OpusTags", b"\x81theora"]
        .iter()
        .find_map(|mark| packet.strip_prefix(*mark))
        // FLAC in Ogg has its metadata blocks as packets.
        .or(match packet {
            [0x04 | 0x84, _, _, _, block @ ..] => Some(block),
            _ => None,
        });
    match block {
        Some(block) => flac::comments(block, texts),
        None => Ok(()),
    }
}
