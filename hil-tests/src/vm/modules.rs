//! Kernel modules: which belong into the guest, and what they need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the guests use. What these need is found in their own `.modinfo`.
pub const WANTED: [&str; 17] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_console",
    "ext4",
    // ext4 asks for its checksum by its algorithm's name, so nothing names the module.
    "crc32c_generic",
    "softdog",
    "i6300esb",
    "ehci_pci",
    "uhci_hcd",
    "xhci_pci",
    "ftdi_sio",
    "ppp_generic",
    "ppp_async",
    "ppp_deflate",
    "bsd_comp",
    "sch_netem",
];

/// A module of a kernel package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Below `lib/modules/VERSION`, such as `kernel/drivers/watchdog/softdog.ko`.
    pub path: String,
    /// Names of what must be loaded before.
    pub needs: Vec<String>,
}

/// All modules below `lib/modules/VERSION` that are wanted or needed, by name.
///
/// # Errors
/// A module is not there, or can't be read.
pub fn collect(root: &Path) -> Result<BTreeMap<String, Module>, String> {
    let mut all = BTreeMap::new();
    find(root, root, &mut all).map_err(|error| format!("{}: {error}", root.display()))?;
    let mut chosen = BTreeMap::new();
    let mut waiting: Vec<String> = WANTED.iter().map(|name| (*name).to_owned()).collect();
    while let Some(name) = waiting.pop() {
        if chosen.contains_key(&name) {
            continue;
        }
        let Some(path) = all.get(&name) else {
            return Err(format!(
                "{}: the kernel has no module {name}; expected a Debian kernel's modules",
                root.display()
            ));
        };
        let whole = root.join(path);
        let bytes =
            std::fs::read(&whole).map_err(|error| format!("{}: {error}", whole.display()))?;
        let needs = needs(&bytes);
        waiting.extend(needs.iter().cloned());
        let path = path.to_string_lossy().into_owned();
        chosen.insert(name, Module { path, needs });
    }
    Ok(chosen)
}

/// The text of modules.dep, as depmod(8) writes it: a module, and all that it needs, however deep; what
/// must be loaded first comes last.
#[must_use]
pub fn dependencies(modules: &BTreeMap<String, Module>) -> String {
    let mut text = String::new();
    for module in modules.values() {
        let mut needed: Vec<&str> = Vec::new();
        let mut waiting: Vec<&str> = module.needs.iter().map(String::as_str).collect();
        while !waiting.is_empty() {
            let name = waiting.remove(0);
            needed.retain(|other| *other != name);
            needed.push(name);
            waiting.extend(modules[name].needs.iter().map(String::as_str));
        }
        text.push_str(&format!("{}:", module.path));
        for name in needed {
            text.push_str(&format!(" {}", modules[name].path));
        }
        text.push('\n');
    }
    text
}

fn find(root: &Path, at: &Path, into: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(at)? {
        let path = entry?.path();
        if path.is_dir() {
            find(root, &path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "ko")
            && let (Some(stem), Ok(below)) = (path.file_stem(), path.strip_prefix(root))
        {
            // Names of modules have no dashes (modprobe(8)).
            into.insert(stem.to_string_lossy().replace('-', "_"), below.to_owned());
        }
    }
    Ok(())
}

/// `depends=a,b` of a module's `.modinfo`: strings that end in zero bytes.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|part| part == KEY) else {
        return Vec::new();
    };
    let value = &module[at + KEY.len()..];
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(0);
    let names = String::from_utf8_lossy(&value[..end]).replace('-', "_");
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_read_from_it() {
        assert_eq!(
            needs(b"ELF\0license=GPL\0depends=failover,net-failover\0x"),
            ["failover", "net_failover"]
        );
        assert_eq!(needs(b"ELF\0depends=\0x"), Vec::<String>::new());
        assert_eq!(needs(b"ELF"), Vec::<String>::new());
    }

    #[test]
    fn needs_stand_behind_who_needs_them() {
        let module = |path: &str, needs: &[&str]| {
            let needs = needs.iter().map(|name| (*name).to_owned()).collect();
            Module { path: path.into(), needs }
        };
        let modules = [
            ("a".to_owned(), module("a.ko", &["b", "c"])),
            ("b".to_owned(), module("b.ko", &["c"])),
            ("c".to_owned(), module("c.ko", &[])),
        ];
        let text = dependencies(&modules.into());
        assert_eq!(text, "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n");
    }
}
