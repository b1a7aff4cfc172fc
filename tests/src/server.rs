//! A private PostgreSQL server and its databases.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use assets_sim::Sim;
use postgres::{Client, NoTls};

use crate::prefix::{as_server_user, clean_environment, oldest, prefix, program};
use crate::{is_running, wait_until, workdir};

/// How long a server may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of every server: quick rather than durable, and the same on every machine.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("port", "5432"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "32MB"),
    ("max_connections", "50"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] %b %q%u@%d "),
];

/// A running PostgreSQL with a data folder of its own, trusting everyone who reaches its socket.
///
/// Dropping it stops it and removes its data. It also goes when this process ends without dropping anything.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    /// The copy of PostgreSQL that it runs from.
    prefix: &'static Path,
    postmaster: Mutex<Option<Child>>,
    /// What its processes find in their environment besides the harness's own.
    environment: Vec<(String, String)>,
}

/// How to stop a server: the three ways of `pg_ctl stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Waits until every session has ended.
    Smart,
    /// Ends the sessions.
    Fast,
    /// Does not even write a checkpoint: the next start is a recovery.
    Immediate,
}

impl Server {
    /// Starts a server with these settings besides the harness's own. Panics, with the server's log, if it cannot.
    pub fn start(settings: &[(&str, &str)]) -> Server {
        Server::start_in(&[], settings)
    }

    /// The same with variables in the environment of its processes.
    pub fn start_in(environment: &[(&str, &str)], settings: &[(&str, &str)]) -> Server {
        let server = Server::prepare(prefix(), environment, settings);
        server.start_again();
        server
    }

    /// The same of the oldest minor of this major that can be had.
    pub fn start_oldest(settings: &[(&str, &str)]) -> Server {
        let server = Server::prepare(oldest(), &[], settings);
        server.start_again();
        server
    }

    /// A server with a fresh data folder that does not run yet.
    fn prepare(prefix: &'static Path, environment: &[(&str, &str)], settings: &[(&str, &str)]) -> Server {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = workdir::new_folder().expect("a folder for the server can be made");
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(prefix.join("template"))
            .arg(folder.join("data"))
            .status()
            .expect("cp can be run");
        assert!(copied.success(), "the template data folder cannot be copied");
        let server = Server { folder, prefix, postmaster: Mutex::new(None), environment };
        let mut conf = File::options()
            .append(true)
            .open(server.data().join("postgresql.conf"))
            .expect("postgresql.conf can be opened");
        let socket = server.folder.display().to_string();
        for (name, value) in SETTINGS.iter().chain(&[("unix_socket_directories", &*socket)]).chain(settings) {
            writeln!(conf, "{name} = '{}'", value.replace('\'', "''"))
                .expect("postgresql.conf can be written");
        }
        server
    }

    /// Stops this server and starts a new one that pg_upgrade has filled with what this one holds, by the same
    /// programs, with these settings. None, where the copy of PostgreSQL lacks pg_upgrade.
    pub fn upgraded(&self, settings: &[(&str, &str)]) -> Option<Server> {
        let (programs, tool) = (prefix().join("bin"), prefix().join("bin/pg_upgrade"));
        if !tool.exists() {
            return None;
        }
        self.stop(Stop::Fast);
        // Made anew, not copied: another cluster than this one.
        let new = Server::prepare(self.prefix, &[], settings);
        let (data, template) = (new.data(), new.folder.join("copy"));
        fs::rename(&data, &template).expect("the data folder can be moved");
        let made = as_server_user(&programs.join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .current_dir(&new.folder)
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        fs::copy(template.join("postgresql.conf"), data.join("postgresql.conf"))
            .expect("settings are copied");
        let upgrade = as_server_user(&tool)
            .args(["--no-sync", "--username=postgres"])
            .args([
                format!("--old-bindir={0}", programs.display()),
                format!("--new-bindir={}", programs.display()),
            ])
            .arg(format!("--old-datadir={}", self.data().display()))
            .arg(format!("--new-datadir={}", new.data().display()))
            .arg(format!("--socketdir={}", new.folder.display()))
            .current_dir(&new.folder)
            .output()
            .expect("pg_upgrade can be run");
        assert!(upgrade.status.success(), "pg_upgrade: {}", String::from_utf8_lossy(&upgrade.stdout));
        new.start_again();
        Some(new)
    }

    /// Starts a standby of this server, with the same settings, that follows it by streaming. Panics if it cannot.
    pub fn start_standby(&self) -> Server {
        let folder = workdir::new_folder().expect("a folder for the standby can be made");
        let copied = as_server_user(&program("pg_basebackup"))
            .arg("-h")
            .arg(&self.folder)
            .args(["-p", "5432", "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "-D"])
            .arg(folder.join("data"))
            .current_dir(&folder)
            .output()
            .expect("pg_basebackup can be run");
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        let standby = Server {
            folder,
            prefix: self.prefix,
            postmaster: Mutex::new(None),
            environment: self.environment.clone(),
        };
        let mut conf = File::options()
            .append(true)
            .open(standby.data().join("postgresql.conf"))
            .expect("postgresql.conf can be opened");
        writeln!(conf, "unix_socket_directories = '{}'", standby.folder.display())
            .expect("postgresql.conf can be written");
        standby.start_again();
        standby
    }

    /// What pg_dump writes of a database.
    pub fn dump(&self, database: &str) -> Vec<u8> {
        let mut dump = Command::new(program("pg_dump"));
        clean_environment(&mut dump);
        dump.env("PGHOST", &self.folder).env("PGPORT", "5432").env("PGUSER", "postgres");
        let output = dump.arg(database).stdin(Stdio::null()).output().expect("pg_dump can be run");
        assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The server that the tests of one binary share: started at the first call, gone when the process ends. It has
    /// the harness's settings only, so the library is not preloaded.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(&[]))
    }

    /// Starts the server again after [`Server::stop`] or after its postmaster was killed; returns when it takes
    /// connections. Panics, with its log, if it ends before that.
    pub fn start_again(&self) {
        let mut postmaster = self.lock();
        assert!(postmaster.is_none(), "the server is running already");
        let mut started: Option<(Child, u64)> = None;
        wait_until("the server takes connections", PATIENCE, || {
            let (child, log_start) = started.get_or_insert_with(|| (self.spawn(), self.log_len()));
            if let Some(status) = child.try_wait().expect("the postmaster can be waited for") {
                let log = self.log_from(*log_start);
                // A killed postmaster leaves its children a moment longer, and they hold the shared memory.
                assert!(
                    log.contains("pre-existing shared memory block"),
                    "the server ended ({status}):\n{log}"
                );
                started = None;
                return false;
            }
            self.try_connect("postgres", "postgres").is_ok()
        });
        *postmaster = started.map(|(child, _)| child);
    }

    /// Stops the server and returns how it ended. Panics if it is not running or does not stop.
    pub fn stop(&self, how: Stop) -> ExitStatus {
        let child = self.lock().take().expect("the server is running");
        let signal = match how {
            Stop::Smart => "TERM",
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        };
        send_signal(child.id(), signal);
        self.wait_for_end(child)
    }

    /// Stops the server, ending its sessions, and starts it again.
    pub fn restart(&self) {
        self.stop(Stop::Fast);
        self.start_again();
    }

    /// Stops one process of the server where it stands, or has it go on (`kill -STOP`, `kill -CONT`).
    pub fn halt(&self, pid: u32, halt: bool) {
        send_signal(pid, if halt { "STOP" } else { "CONT" });
    }

    /// Kills one process of the server (`kill -9`) and returns when it is gone. After the postmaster itself was
    /// killed the server can be started with [`Server::start_again`].
    pub fn kill9(&self, pid: u32) {
        send_signal(pid, "KILL");
        let mut postmaster = self.lock();
        if postmaster.as_ref().is_some_and(|child| child.id() == pid) {
            let child = postmaster.take().expect("it was there");
            self.wait_for_end(child);
        } else {
            drop(postmaster);
            wait_until("the killed process is gone", PATIENCE, || !is_running(pid));
        }
    }

    /// The process id of the postmaster. Panics if the server is not running.
    pub fn postmaster_pid(&self) -> u32 {
        self.lock().as_ref().expect("the server is running").id()
    }

    /// The folder of the server's socket: what `host` is in a connection string. The port is 5432.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Everything that the server has logged since [`Server::start`].
    pub fn log_text(&self) -> String {
        self.log_from(0)
    }

    /// The lines of the log that tell of a crash: a process that ended by a signal, a PANIC, a failed assertion.
    pub fn crashes(&self) -> Vec<String> {
        let signs = ["was terminated by signal", "PANIC:", "TRAP: ", "server process crashed"];
        let is_crash = |line: &&str| signs.iter().any(|sign| line.contains(sign));
        self.log_text().lines().filter(is_crash).map(str::to_owned).collect()
    }

    /// Connects to a database as a user. Panics, with the end of the log, if it cannot.
    #[track_caller]
    pub fn connect(&self, database: &str, user: &str) -> Client {
        self.try_connect(database, user).unwrap_or_else(|error| {
            let log = self.log_text();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            panic!("cannot connect to {database} as {user}: {error}\nthe server's log ends:\n{tail}")
        })
    }

    /// Connects to a database as a user.
    pub fn try_connect(&self, database: &str, user: &str) -> Result<Client, postgres::Error> {
        self.config(database, user).connect(NoTls)
    }

    /// How to connect to a database as a user, for tests that want something else set as well.
    pub fn config(&self, database: &str, user: &str) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host_path(&self.folder).port(5432).dbname(database).user(user).application_name("test");
        config
    }

    /// Makes a fresh database with the extension in it.
    #[track_caller]
    pub fn create_database(&self) -> Database<'_> {
        let database = self.create_empty_database();
        database
            .connect()
            .batch_execute("CREATE EXTENSION assets_fdw")
            .expect("the extension can be created");
        database
    }

    /// Makes a fresh database without the extension.
    #[track_caller]
    pub fn create_empty_database(&self) -> Database<'_> {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.connect("postgres", "postgres")
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .expect("a database can be created");
        Database { server: self, name }
    }

    /// Runs psql with these arguments, as user postgres, without a psqlrc and with nothing to read.
    pub fn psql(&self, args: &[&str]) -> Output {
        self.psql_command().args(args).stdin(Stdio::null()).output().expect("psql can be run")
    }

    /// A psql that reaches this server, for more arguments and redirections.
    pub fn psql_command(&self) -> Command {
        let mut psql = self.command("psql");
        psql.env("PGCLIENTENCODING", "UTF8").arg("-X");
        psql
    }

    /// A client program of PostgreSQL's, such as pg_dump, that reaches this server as user postgres.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        clean_environment(&mut command);
        command.env("PGHOST", &self.folder).env("PGPORT", "5432").env("PGUSER", "postgres");
        command
    }

    /// Starts a standby of this server, which follows it for as long as both run.
    pub fn standby(&self) -> Server {
        let folder = workdir::new_folder().expect("a folder for the standby can be made");
        let copied = as_server_user(&program("pg_basebackup"))
            .args(["--checkpoint=fast", "--write-recovery-conf", "--port=5432", "--username=postgres"])
            .arg(format!("--host={}", self.folder.display()))
            .arg(format!("--pgdata={}", folder.join("data").display()))
            .current_dir(&folder)
            .output()
            .expect("pg_basebackup can be run");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let standby =
            Server { folder, prefix: self.prefix, postmaster: Mutex::new(None), environment: Vec::new() };
        let conf = File::options().append(true).open(standby.data().join("postgresql.conf"));
        writeln!(
            conf.expect("postgresql.conf can be opened"),
            "unix_socket_directories = '{}'",
            standby.folder.display()
        )
        .expect("postgresql.conf can be written");
        standby.start_again();
        standby
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn spawn(&self) -> Child {
        let log =
            File::options().create(true).append(true).open(self.folder.join("log")).expect("the log opens");
        as_server_user(&self.prefix.join("bin/postgres"))
            .arg("-D")
            .arg(self.data())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // The tests' own working folder may be closed to the servers' user.
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log can be opened twice"))
            .stderr(log)
            // An interrupt from the terminal is for the test process; the watchdog then stops the server.
            .process_group(0)
            .spawn()
            .expect("postgres can be run")
    }

    fn wait_for_end(&self, mut child: Child) -> ExitStatus {
        let mut status = None;
        wait_until("the server has stopped", PATIENCE, || {
            status = child.try_wait().expect("the postmaster can be waited for");
            status.is_some()
        });
        status.expect("waited for it")
    }

    /// How much the server has logged.
    pub fn log_len(&self) -> u64 {
        fs::metadata(self.folder.join("log")).map_or(0, |log| log.len())
    }

    /// What it has logged since it was so much.
    pub fn log_from(&self, start: u64) -> String {
        let mut bytes = Vec::new();
        let mut log = File::open(self.folder.join("log")).expect("the log can be opened");
        log.seek(SeekFrom::Start(start)).expect("the log can be read");
        log.read_to_end(&mut bytes).expect("the log can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        // A test that panicked while it held the lock leaves nothing half done behind.
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // No panic here: the test may be panicking already. What is left over is the watchdog's.
        if let Some(mut child) = self.lock().take() {
            send_signal(child.id(), "QUIT");
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A database of a [`Server`], dropped with everything in it when this is dropped.
#[derive(Debug)]
pub struct Database<'a> {
    server: &'a Server,
    name: String,
}

impl<'a> Database<'a> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server it is on.
    pub fn server(&self) -> &'a Server {
        self.server
    }

    /// Connects as the superuser.
    #[track_caller]
    pub fn connect(&self) -> Client {
        self.server.connect(&self.name, "postgres")
    }

    /// Makes the foreign server `assets` for a simulator, requests unlimited, with a user mapping for the superuser:
    /// the simulator's first identity, which sees everything.
    #[track_caller]
    pub fn create_assets_server(&self, sim: &Sim) {
        let identity = &sim.identities()[0];
        let sql = format!(
            "CREATE SERVER assets FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}', requests_per_minute '0');
             CREATE USER MAPPING FOR CURRENT_USER SERVER assets OPTIONS (email '{}', api_token '{}')",
            sim.url(),
            identity.name,
            identity.secret,
        );
        self.connect().batch_execute(&sql).expect("the foreign server can be made");
    }

    /// Connects as some other user.
    #[track_caller]
    pub fn connect_as(&self, user: &str) -> Client {
        self.server.connect(&self.name, user)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // Best effort: the server may be stopped or the database gone; the data folder goes in any case.
        if let Ok(mut client) = self.server.try_connect("postgres", "postgres") {
            let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

fn send_signal(pid: u32, signal: &str) {
    // The shell's own kill: not every system has the program.
    let _ = Command::new("/bin/sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
}
