//! A library file as bytes: whether it is whole and for this machine, and what its preamble says. Nothing of it is run, and no
//! bytes make it panic.

use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{
    Export, ExportTarget, File, FileKind, NameOrOrdinal, Object, ObjectSection, ObjectSegment, ReadRef,
};
use object::{Architecture, BinaryFormat, Endianness, ObjectKind, elf};
use std::env::consts;
use stillhouse_plugin::abi::abi_stable::library::LibHeader;
use stillhouse_plugin::abi::{HEADER_SYMBOL, PREAMBLE_SYMBOL, Preamble};

/// What keeps a file from being a plugin's.
#[derive(Debug, PartialEq)]
pub(super) enum Flaw {
    NotLibrary(String),
    OtherMachine(String),
    CutOff(u64),
    Damaged(String),
    NotPlugin,
}

/// What a whole library for this machine says of itself.
pub(super) struct Image {
    pub(super) preamble: Preamble,
    /// The header is exported, and all of it is in the file.
    pub(super) has_header: bool,
}

/// This machine, in words.
pub(super) fn this_machine() -> String {
    format!("{} {}", consts::ARCH, consts::OS)
}

/// Reads the image of a library from its `len` bytes.
pub(super) fn read<'data, R: ReadRef<'data>>(data: R, len: u64) -> Result<Image, Flaw> {
    check_format(data, len)?;
    let file = File::parse(data).map_err(|error| Flaw::Damaged(plain(error)))?;
    check_machine(&file)?;
    match file.kind() {
        ObjectKind::Dynamic => {}
        ObjectKind::Executable => return Err(Flaw::NotLibrary("is a program".into())),
        _ => return Err(Flaw::NotLibrary("is an object file that was not linked".into())),
    }
    check_whole(&file, len)?;
    let exports = file.exports().map_err(|error| Flaw::Damaged(plain(error)))?;
    let (mut preamble, mut header) = (None, None);
    for export in exports.flatten() {
        let Some(address) = address_of(&export) else { continue };
        match name_of(&export, file.format()) {
            name if name == PREAMBLE_SYMBOL.as_bytes() => preamble = Some(address),
            name if name == HEADER_SYMBOL.as_bytes() => header = Some(address),
            _ => {}
        }
    }
    let address = preamble.ok_or(Flaw::NotPlugin)?;
    let bytes = bytes_at(&file, address, Preamble::SIZE);
    let outside = || Flaw::Damaged("its preamble lies outside of the file".into());
    let preamble = bytes.and_then(Preamble::parse).ok_or_else(outside)?;
    let has_header = header.is_some_and(|address| bytes_at(&file, address, size_of::<LibHeader>()).is_some());
    Ok(Image { preamble, has_header })
}

/// Refuses what is no library of this system, and an ELF file that is shorter than its headers say.
fn check_format<'data, R: ReadRef<'data>>(data: R, len: u64) -> Result<(), Flaw> {
    let kind = FileKind::parse(data).map_err(|_| Flaw::NotLibrary(beginning(data, len)))?;
    let got = match kind {
        FileKind::Elf64 | FileKind::Elf32 => "ELF systems such as Linux",
        FileKind::MachO64 | FileKind::MachO32 => "macOS",
        FileKind::Pe64 | FileKind::Pe32 => "Windows",
        FileKind::MachOFat32 | FileKind::MachOFat64 => {
            return Err(Flaw::NotLibrary("is a universal file; take the slice of one machine".into()));
        }
        _ => return Err(Flaw::NotLibrary("is an object file that was not linked".into())),
    };
    let here = match () {
        () if cfg!(target_vendor = "apple") => matches!(kind, FileKind::MachO64 | FileKind::MachO32),
        () if cfg!(windows) => matches!(kind, FileKind::Pe64 | FileKind::Pe32),
        () => matches!(kind, FileKind::Elf64 | FileKind::Elf32),
    };
    let wide = matches!(kind, FileKind::Elf64 | FileKind::MachO64 | FileKind::Pe64);
    match kind {
        _ if !here => Err(Flaw::OtherMachine(got.into())),
        _ if wide != cfg!(target_pointer_width = "64") => {
            Err(Flaw::OtherMachine(format!("a {}-bit machine", if wide { 64 } else { 32 })))
        }
        FileKind::Elf64 => check_elf::<elf::FileHeader64<Endianness>, R>(data, len),
        FileKind::Elf32 => check_elf::<elf::FileHeader32<Endianness>, R>(data, len),
        _ => Ok(()),
    }
}

/// The first bytes, for a file that is no library at all.
fn beginning<'data, R: ReadRef<'data>>(data: R, len: u64) -> String {
    let bytes = data.read_bytes_at(0, len.min(16)).unwrap_or_default();
    match bytes {
        [] => "is empty".into(),
        _ if bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            format!("is text that begins with {:?}", String::from_utf8_lossy(bytes))
        }
        _ => {
            let first: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("begins with the bytes {}", first.join(" "))
        }
    }
}

/// Refuses an ELF file that ends before the last byte that its headers describe: mapping it would end the process.
fn check_elf<'data, H: FileHeader, R: ReadRef<'data>>(data: R, len: u64) -> Result<(), Flaw> {
    let header = match H::parse(data) {
        Ok(header) => header,
        Err(_) if len < size_of::<H>() as u64 => return Err(Flaw::CutOff(size_of::<H>() as u64)),
        Err(error) => return Err(Flaw::Damaged(plain(error))),
    };
    let endian = header.endian().map_err(|error| Flaw::Damaged(plain(error)))?;
    let table = |offset: H::Word, size: u16, count: u16| -> u64 {
        let offset: u64 = offset.into();
        offset.saturating_add(u64::from(size) * u64::from(count))
    };
    let sections = table(header.e_shoff(endian), header.e_shentsize(endian), header.e_shnum(endian));
    let segments = table(header.e_phoff(endian), header.e_phentsize(endian), header.e_phnum(endian));
    let end_of = |segment: &H::ProgramHeader| -> u64 {
        let (offset, size): (u64, u64) = (segment.p_offset(endian).into(), segment.p_filesz(endian).into());
        offset.saturating_add(size)
    };
    let described = header.program_headers(endian, data).unwrap_or_default().iter().map(end_of).max();
    let end = sections.max(segments).max(described.unwrap_or(0));
    if end > len { Err(Flaw::CutOff(end)) } else { Ok(()) }
}

fn check_machine<'data, R: ReadRef<'data>>(file: &File<'data, R>) -> Result<(), Flaw> {
    let got = match file.architecture() {
        Architecture::Unknown => "an unknown machine".into(),
        Architecture::I386 => "x86".into(),
        other => format!("{other:?}").to_lowercase(),
    };
    if file.is_little_endian() != cfg!(target_endian = "little") {
        return Err(Flaw::OtherMachine(format!("{got} of the other byte order")));
    }
    if got == consts::ARCH { Ok(()) } else { Err(Flaw::OtherMachine(got)) }
}

/// Refuses a library with a segment or section beyond the end of the file.
fn check_whole<'data, R: ReadRef<'data>>(file: &File<'data, R>, len: u64) -> Result<(), Flaw> {
    let segments = file.segments().map(|segment| segment.file_range());
    let sections = file.sections().filter_map(|section| section.file_range());
    let end = segments.chain(sections).map(|(offset, size)| offset.saturating_add(size)).max();
    match end {
        Some(end) if end > len => Err(Flaw::CutOff(end)),
        Some(_) => Ok(()),
        None => Err(Flaw::Damaged("it has no segment".into())),
    }
}

fn address_of(export: &Export<'_>) -> Option<u64> {
    match export.target() {
        ExportTarget::Address { address } => Some(address),
        _ => None,
    }
}

/// Name of an exported symbol as the linker of this format was given it.
fn name_of<'e>(export: &'e Export<'_>, format: BinaryFormat) -> &'e [u8] {
    let NameOrOrdinal::Name(name) = export.name() else { return &[] };
    match format {
        BinaryFormat::MachO => name.strip_prefix(b"_").unwrap_or(name),
        _ => name,
    }
}

/// The bytes of the file that are mapped to this address.
fn bytes_at<'data, R: ReadRef<'data>>(file: &File<'data, R>, address: u64, size: usize) -> Option<&'data [u8]> {
    file.segments().find_map(|segment| segment.data_range(address, size as u64).ok().flatten())
}

/// A message of the reader as the end of a sentence.
fn plain(error: object::read::Error) -> String {
    error.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(bytes: &[u8]) -> Option<Flaw> {
        read(bytes, bytes.len() as u64).err()
    }

    #[test]
    fn image_of_no_bytes_is_no_library() {
        assert_eq!(flaw(&[]), Some(Flaw::NotLibrary("is empty".into())));
    }

    #[test]
    fn image_of_text_quotes_its_beginning() {
        let wanted = "is text that begins with \"#!/bin/sh\\necho h\"";
        assert_eq!(flaw(b"#!/bin/sh\necho hello\n"), Some(Flaw::NotLibrary(wanted.into())));
    }

    #[test]
    fn image_of_other_bytes_shows_them() {
        assert_eq!(flaw(&[0, 159, 1]), Some(Flaw::NotLibrary("begins with the bytes 00 9f 01".into())));
    }
}
