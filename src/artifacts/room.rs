//! How much room a disk has.

use std::path::Path;
use sysinfo::{Disk, DiskRefreshKind, Disks};

/// Bytes that can still be written below a folder; none where its disk is not known: a network share, a disk in memory.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let storage = DiskRefreshKind::nothing().with_storage();
    let disks = Disks::new_with_refreshed_list_specifics(storage).ok()?;
    disks
        .iter()
        .filter(|disk| lies_on(folder, disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map(Disk::available_space)
}

/// Whether a folder lies on the disk that is mounted there.
#[cfg(unix)]
fn lies_on(folder: &Path, mount_point: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
    matches!((device(folder), device(mount_point)), (Ok(one), Ok(other)) if one == other)
}

/// Whether a folder lies on the disk that is mounted there.
#[cfg(not(unix))]
fn lies_on(folder: &Path, mount_point: &Path) -> bool {
    std::path::absolute(folder).is_ok_and(|folder| folder.starts_with(mount_point))
}
