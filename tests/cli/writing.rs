//! Folders that cannot be written to, disks that are full: told in one line, and what was there stays.

use super::program::Folder;

/// Names and contents of a folder.
fn contents(folder: &Folder, name: &str) -> Vec<(String, Vec<u8>)> {
    let read = |file: &String| std::fs::read(folder.path().join(name).join(file)).unwrap();
    folder.list(name).into_iter().map(|file| (file.clone(), read(&file))).collect()
}

#[test]
fn folders_that_cannot_be_written_to() {
    let folder = Folder::new("unwritable");
    folder.write("file", b"in the way");
    for command in ["simulate", "demo"] {
        folder.run(&[command, "--out", "file"]).refused(&["file: cannot create", "move what is in the way"]);
        folder
            .run(&[command, "--out", "file/below"])
            .refused(&["file/below: cannot create", "move what is in the way"]);
    }
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"in the way");
    if cfg!(target_os = "linux") {
        folder.run(&["simulate", "--out", "/proc/sarcomere"]).refused(&["/proc/sarcomere: cannot create"]);
    }
}

#[cfg(unix)]
#[test]
fn folders_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("permission");
    let path = folder.path().join("closed");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write anywhere, but not from within a name space of users that does not know it.
    let may = std::fs::write(path.join("probe"), b"").is_ok();
    let run =
        |arguments: &str| folder.shell(&format!("exec {} \"$0\" {arguments}", if may { "unshare --user" } else { "" }));
    if may && run("--version").code() != Some(0) {
        println!("skipped 1 case: this user may write anywhere");
        return;
    }
    run("simulate --out closed").refused(&["closed: cannot write", "change its permissions"]);
    run("simulate --out closed/new").refused(&["closed/new: cannot create", "change its permissions"]);
}

/// A limit on the size of files fails a write half way, as a full disk does.
#[cfg(unix)]
#[test]
fn a_write_that_fails_half_way_leaves_what_was_there() {
    let folder = Folder::new("limit");
    folder.run(&["simulate", "--seconds", "0.25", "--out", "made", "--seed", "1"]).good();
    let before = contents(&folder, "made");
    assert_eq!(before.len(), 3);
    // Ignoring the signal, the system call fails instead. 512 or 1024 bytes a block: less than the recording either way.
    let limited = "trap '' XFSZ; ulimit -f 100; exec \"$0\" ";
    let run = folder.shell(&format!("{limited} simulate --seconds 0.25 --out made --seed 2"));
    run.refused(&["paper-0000.npz: cannot write", "free some space", "unchanged"]);
    assert_eq!(contents(&folder, "made"), before, "what was there is whole, and nothing half written is left");
    let run = folder.shell(&format!("{limited} simulate --seconds 0.25 --out new --seed 2"));
    run.refused(&["cannot write", "free some space"]);
    assert!(!folder.path().join("new").exists(), "a folder made for nothing is removed");
}

/// A disk of one megabyte, where this user may mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_what_was_there() {
    let folder = Folder::new("disk");
    std::fs::create_dir(folder.path().join("disk")).unwrap();
    let mounted = "mount -t tmpfs -o size=1m none disk || exit 77";
    // What the disk holds is told before its name space ends with the shell.
    let line = format!(
        "exec unshare --user --map-root-user --mount sh -c '{mounted}; echo old > disk/paper-0000.npz; \
         \"$0\" simulate --out disk; code=$?; ls -A disk; cat disk/paper-0000.npz; exit $code' \"$0\""
    );
    let run = folder.shell(&line);
    if run.code() != Some(2) || !run.err().contains("error: disk/") {
        assert!(run.code() != Some(0) && !run.err().contains("panicked"), "{}", run.err());
        println!("skipped 1 case: no disk can be mounted here ({})", run.err().trim());
        return;
    }
    run.refused(&["paper-0000.npz: cannot write", "No space left", "free some space", "unchanged"]);
    assert_eq!(run.out(), "paper-0000.npz\nold\n");
}
