//! An initramfs: a cpio archive in the format that the kernel takes (Documentation/driver-api/early-userspace/
//! buffer-format.rst), "newc" without checksums.

/// Directory, regular file, symbolic link: the type bits of a mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    directories: Vec<String>,
    files: Vec<String>,
    entries: u32,
}

impl Archive {
    /// A file with its mode, such as 0o755. Its directories are made where they are missing. `path` has no
    /// leading slash.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.files.push(path.to_owned());
        self.entry(path, FILE | mode, content);
    }

    /// The same, unless it is there already.
    pub fn file_once(&mut self, path: &str, mode: u32, content: &[u8]) {
        if !self.files.iter().any(|made| made == path) {
            self.file(path, mode, content);
        }
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, LINK | 0o777, target.as_bytes());
    }

    /// A directory.
    pub fn directory(&mut self, path: &str) {
        if self.directories.iter().any(|made| made == path) {
            return;
        }
        self.parents(path);
        self.directories.push(path.to_owned());
        self.entry(path, DIRECTORY | 0o755, b"");
    }

    /// The archive, whole.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY == 0 { 1 } else { 2 };
        // inode, mode, owner, group, links, time, size, device (4 numbers), length of the name, checksum.
        let size = u32::try_from(content.len()).expect("no file of 4 GB belongs here");
        let name = u32::try_from(path.len() + 1).expect("paths are short");
        let numbers = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_110_bytes_and_everything_is_aligned() {
        let mut archive = Archive::default();
        archive.file("a/b", 0o755, b"x");
        let bytes = archive.finish();
        assert!(bytes.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&bytes);
        // The directory of the file comes before it.
        let places = ["a\0", "a/b\0", "TRAILER!!!\0"].map(|name| text.find(name).expect(name));
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(bytes.len() % 4, 0);
        let mode = &text[places[1] - 110 + 14..][..8];
        assert_eq!(u32::from_str_radix(mode, 16), Ok(0o100_755));
    }
}
