//! The private copy of PostgreSQL that the servers are run from (see `tools/pg`).

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the copy. Panics, saying what to do, when there is none.
pub(crate) fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = match env::var_os("ASSETS_FDW_TEST_PREFIX") {
            Some(given) => PathBuf::from(given),
            None => default_prefix(),
        };
        assert!(
            prefix.join("bin/postgres").exists() && prefix.join("template/PG_VERSION").exists(),
            "no private copy of PostgreSQL in {}; `make test` makes one and installs the extension in it",
            prefix.display()
        );
        prefix
    })
}

/// The major version of the servers.
pub fn major() -> u32 {
    let file = prefix().join("template/PG_VERSION");
    let text = fs::read_to_string(&file).expect("PG_VERSION of the template can be read");
    text.trim().parse().expect("PG_VERSION is a number")
}

/// The copy's folder of files that all servers share: the extensions' scripts are in its `extension`.
pub fn share_folder() -> PathBuf {
    let output = Command::new(program("pg_config")).arg("--sharedir").output().expect("pg_config can be run");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim())
}

/// The built library, as it is in the copy.
pub fn library() -> PathBuf {
    let output =
        Command::new(program("pg_config")).arg("--pkglibdir").output().expect("pg_config can be run");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim()).join("assets_fdw.so")
}

/// A copy of the oldest minor of the servers' major that can be had, with the built library in it; made at the first
/// call, which fetches it. Panics, saying why, where it cannot be had: a test that needs it must not pass without.
pub fn oldest() -> &'static Path {
    static OLDEST: OnceLock<PathBuf> = OnceLock::new();
    OLDEST.get_or_init(|| {
        let copy = format!("{}-oldest", major());
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/pg"))
            .args(["install", &copy])
            .arg(library())
            .env("ASSETS_FDW_PG_DIR", prefix().parent().expect("copies live in a folder"))
            .output()
            .expect("tools/pg can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the oldest minor of PostgreSQL {} cannot be had:\n{said}", major());
        prefix().with_file_name(copy)
    })
}

/// One of the copy's programs; psql, which some copies lack, may be Debian's instead.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = prefix().join("bin").join(name);
    if own.exists() { own } else { Path::new("/usr/lib/postgresql/15/bin").join(name) }
}

/// A command that runs `program` as the user that servers run as: `postgres` when this process is root's, whom
/// PostgreSQL refuses; else this process's own. Its environment is empty but for the path and the C locale. So a
/// `RUST_BACKTRACE` of the caller is not handed on: with it every ERROR that passes Rust code costs a tenth of a second.
pub(crate) fn as_server_user(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    clean_environment(&mut command);
    command
}

/// The environment of everything that the harness runs.
pub(crate) fn clean_environment(command: &mut Command) {
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0
}

/// What the owner and group of files must be so that the servers can use them: those of the template.
pub(crate) fn server_owner() -> (u32, u32) {
    let template = fs::metadata(prefix().join("template")).expect("the template is there");
    (template.uid(), template.gid())
}

fn default_prefix() -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/pg");
    let output = Command::new(&tool).args(["prefix", "15"]).output().expect("tools/pg can be run");
    assert!(output.status.success(), "tools/pg prefix 15: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim())
}
