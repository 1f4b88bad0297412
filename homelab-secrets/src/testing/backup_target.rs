//! What every [`BackupTarget`] keeps to.

use homelab_core::class::Class;

use crate::backup::BackupTarget;

/// Everything that a place for backups promises. It is empty before, and has one backup afterwards. Panics where a promise is
/// broken.
pub async fn backup_target_contract(target: &dyn BackupTarget) {
    assert_eq!(target.list().await.expect("listed"), Vec::<String>::new(), "it is empty");
    let missing = target.get("homelab-1.backup").await.expect_err("nothing is there");
    assert_eq!(missing.class(), Class::NotFound, "{missing}");
    target.delete("homelab-1.backup").await.expect("what is not there can be taken away");

    let bytes: Vec<u8> = (0..70_000_u32).flat_map(u32::to_be_bytes).collect();
    target.put("homelab-1.backup", bytes.clone()).await.expect("kept");
    target.put("homelab-2.backup", vec![0, 255, b'\n', b'\r']).await.expect("kept");
    assert_eq!(target.get("homelab-1.backup").await.expect("there"), bytes, "to the byte");
    assert_eq!(target.get("homelab-2.backup").await.expect("there"), [0, 255, b'\n', b'\r'], "nothing is converted");
    let over = target.put("homelab-1.backup", vec![1]).await.expect_err("never over another");
    assert_eq!(over.class(), Class::Conflict, "{over}");
    assert_eq!(target.get("homelab-1.backup").await.expect("there"), bytes, "it is as it was");
    let mut names = target.list().await.expect("listed");
    names.sort();
    assert_eq!(names, ["homelab-1.backup", "homelab-2.backup"]);

    target.delete("homelab-1.backup").await.expect("taken away");
    assert_eq!(target.list().await.expect("listed"), ["homelab-2.backup"]);
    assert_eq!(target.get("homelab-1.backup").await.expect_err("gone").class(), Class::NotFound);
    assert!(target.to_string().len() > 1, "it has a name for people");
}
