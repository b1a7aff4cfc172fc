//! The program: starts, says where it listens, and its commands change a running one.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Client, basic};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_assets-sim"))
}

fn says(arguments: &[&str]) -> Result<String, String> {
    let output = program().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn a_running_simulator_is_changed_from_the_shell() {
    let file = std::env::temp_dir().join(format!("assets-sim-test-{}", std::process::id()));
    let mut child = program();
    child.args(["--listen", "127.0.0.1:0", "--objects", "300", "--latency", "1ms", "--page-cap=50"]);
    child.args(["--profile", "lenient", "--port-file"]).arg(&file).stdout(Stdio::piped());
    let mut running = Running(child.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("assets-sim listening on ").expect("the address").to_owned();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !file.exists() {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), url);
    std::fs::remove_file(&file).unwrap();

    let base = format!("{url}/jsm/assets/workspace/{}/v1", assets_sim::WORKSPACE_ID);
    let client = Client::with(base, basic("reader@example.com", "classic-token"));
    let key = says(&["create", &url, "Server", "from the shell"]).unwrap();
    says(&["set", &url, &key, "Memory GB", "7"]).unwrap();
    assert_eq!(client.count(&format!("Key = {key} and \"Memory GB\" = 7 and Name = \"from the shell\"")), 1);
    assert!(says(&["log", &url]).unwrap().contains("from the shell"));
    assert_eq!(client.aql("", 0, 500).json()["maxResults"], 50);
    says(&["switch", &url, "page_cap", "10"]).unwrap();
    assert_eq!(client.aql("", 0, 500).json()["maxResults"], 10);
    says(&["delete", &url, &key]).unwrap();
    assert_eq!(client.count(&format!("Key = {key}")), 0);
    assert!(says(&["delete", &url, &key]).unwrap_err().contains(&key));
    let dump = Client::with(url, None).get("/_sim/dump?type=Server");
    assert_eq!(
        String::from_utf8(dump.body).unwrap().lines().count() as u64,
        client.count("objectType = Server")
    );
}

#[test]
fn bad_arguments_are_refused_with_the_usage() {
    for arguments in
        [&["--objects", "many"][..], &["--nonsense", "1"], &["--latency"], &["dance"], &["--profile", "x"]]
    {
        assert!(says(arguments).is_err(), "{arguments:?}");
    }
}
