//! One block of bytes in, one complete stream of its compression format out.
//!
//! In each of the formats a file may consist of several streams, and its contents are theirs in order: gzip in RFC 1952
//! section 2.2 (members), zstd in RFC 8878 section 3 (frames), xz in section 2 of its file format (streams); the bzip2
//! command reads its own streams this way.

use std::io;

use bzip2::{Action, Compress, Compression, Status};
use libdeflater::CompressionLvl;
use xz2::stream::{Check, Filters, LzmaOptions, Stream};
use zstd::zstd_safe::CParameter;

use super::method::Method;

/// Compresses a block into the given buffer, replacing its contents.
pub(super) type Encoder = Box<dyn FnMut(&[u8], &mut Vec<u8>) -> io::Result<()> + Send>;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Size of the dictionary and of the block of an xz stream: with 4 MiB the encoder takes about 48 MiB a thread (12 times
/// the dictionary), with the 8 MiB of `xz -6` it would take 94.
const XZ_DICTIONARY: usize = 4 * MIB;

/// Plain bytes of a block. Larger blocks compress better, smaller ones need less memory.
pub(super) fn block_size(method: Method, level: i32) -> usize {
    match method {
        Method::None => 256 * KIB,
        Method::Gzip => MIB,
        // The contents of one block of the bzip2 format (BZ2_bzCompressInit's nblockMAX); one byte more begins a second.
        Method::Bzip2 => usize::try_from(level.clamp(1, 9)).unwrap_or(9) * 100_000 - 20,
        Method::Xz => XZ_DICTIONARY,
        Method::Zstd => 2 * MIB,
    }
}

/// An encoder for one thread. `None` is for `Method::None`, which needs no work.
pub(super) fn encoder(method: Method, level: i32) -> io::Result<Option<Encoder>> {
    Ok(match method {
        Method::None => None,
        Method::Gzip => Some(gzip(level)?),
        Method::Bzip2 => Some(bzip2(level)),
        Method::Xz => Some(xz(level)?),
        Method::Zstd => Some(zstd(level)?),
    })
}

fn gzip(level: i32) -> io::Result<Encoder> {
    let level = CompressionLvl::new(level).map_err(|_| io::Error::other("libdeflate does not support this level"))?;
    let mut compressor = libdeflater::Compressor::new(level);
    Ok(Box::new(move |input, output| {
        let bound = compressor.gzip_compress_bound(input.len());
        output.resize(bound, 0);
        let length = compressor
            .gzip_compress(input, output)
            .map_err(|error| io::Error::other(format!("libdeflate: {error}")))?;
        output.truncate(length);
        Ok(())
    }))
}

fn bzip2(level: i32) -> Encoder {
    let level = Compression::new(u32::try_from(level).unwrap_or(9));
    Box::new(move |input, output| {
        let mut stream = Compress::new(level, 0);
        output.clear();
        loop {
            output.reserve(input.len() / 4 + KIB);
            let taken = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
            let rest = input.get(taken..).unwrap_or_default();
            match stream.compress_vec(rest, output, Action::Finish) {
                Ok(Status::StreamEnd) => return Ok(()),
                Ok(_) => (),
                Err(error) => return Err(io::Error::other(format!("bzip2: {error}"))),
            }
        }
    })
}

fn xz(level: i32) -> io::Result<Encoder> {
    let preset = u32::try_from(level).unwrap_or(6);
    Ok(Box::new(move |input, output| {
        let mut options = LzmaOptions::new_preset(preset)?;
        // A dictionary larger than the block would be allocated and never used. The presets 0 to 2 have smaller ones.
        if preset > 3 {
            options.dict_size(XZ_DICTIONARY as u32);
        }
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let mut stream = Stream::new_stream_encoder(&filters, Check::Crc64)?;
        output.clear();
        loop {
            output.reserve(input.len() / 4 + KIB);
            let taken = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
            let rest = input.get(taken..).unwrap_or_default();
            if stream.process_vec(rest, output, xz2::stream::Action::Finish)? == xz2::stream::Status::StreamEnd {
                return Ok(());
            }
        }
    }))
}

fn zstd(level: i32) -> io::Result<Encoder> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(Box::new(move |input, output| {
        output.clear();
        output.reserve(zstd::zstd_safe::compress_bound(input.len()));
        compressor.compress_to_buffer(input, output)?;
        Ok(())
    }))
}
