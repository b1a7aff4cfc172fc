//! One folder a test process, in which its servers live, and a watchdog that removes both.
//!
//! A test process may end without a word: `exit` drops no statics, and a kill drops nothing. So a shell waits at the
//! other end of a pipe: the kernel closes the pipe when the process is gone, whatever the reason, and the shell then
//! stops every server of the folder and removes it. A parent-death signal would not do: Linux sends it when the
//! *thread* that started the server ends, and tests run in threads.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::{env, io};

use crate::prefix::{clean_environment, is_root, server_owner};

// A server is one of ours if its working folder, which is its data folder, is below the folder of this process.
const WATCHDOG: &str = r#"
read -r _
servers() {
    for file in "$1"/*/data/postmaster.pid; do
        [ -e "$file" ] || continue
        read -r pid < "$file" && [ "$(readlink "/proc/$pid/cwd")" = "${file%/*}" ] && echo "$pid"
    done
}
signal=QUIT
attempt=0
while pids=$(servers "$1"); [ -n "$pids" ]; do
    attempt=$((attempt + 1))
    [ $attempt -lt 100 ] || signal=KILL
    [ $attempt -lt 150 ] || break
    kill -$signal $pids
    sleep 0.05
done
rm -rf "$1"
"#;

struct WorkDir {
    path: PathBuf,
    /// Held for its end of the pipe, never used.
    _watchdog: Mutex<Child>,
}

/// Makes a new folder that the servers' user owns, which is removed at the latest when this process has ended.
pub(crate) fn new_folder() -> io::Result<PathBuf> {
    static WORK_DIR: OnceLock<WorkDir> = OnceLock::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let work_dir = WORK_DIR.get_or_init(|| WorkDir::new().expect("the folder of the servers can be made"));
    let folder = work_dir.path.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&folder)?;
    let (owner, group) = server_owner();
    chown(&folder, Some(owner), Some(group))?;
    Ok(folder)
}

impl WorkDir {
    fn new() -> io::Result<Self> {
        // Root's TMPDIR may be closed to the servers' user, and a socket's path may have 107 bytes only.
        let tmp = env::temp_dir().canonicalize()?;
        let tmp = if is_root() || tmp.as_os_str().len() > 60 { Path::new("/tmp") } else { &tmp };
        let path = tmp.join(format!("assets-fdw-test.{}", id()));
        // What a former process of the same number left behind, if its watchdog was killed as well.
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        let mut watchdog = Command::new("/bin/sh");
        watchdog.args(["-c", WATCHDOG, "assets-fdw-test-watchdog"]).arg(&path);
        clean_environment(&mut watchdog);
        // A process group of its own, so that an interrupt from the terminal does not reach it.
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(WorkDir { path, _watchdog: Mutex::new(watchdog.spawn()?) })
    }
}
