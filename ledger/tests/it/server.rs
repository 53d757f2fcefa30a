//! A TigerBeetle server of a test's own, to be killed, paused and restarted. The binary is at `TIGERBEETLE_BIN`.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ledger::{Ledger, Options};

use crate::harness::variable;

pub(crate) struct Server {
    pub(crate) port: u16,
    directory: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// The system picks the port, and the server says which: nobody can take it in between.
    pub(crate) fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("ledger-test-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&directory).expect("a directory for the server");
        let mut server = Self { port: 0, directory, process: None };
        let formatted = server.command("format", &["--cluster=0", "--replica=0", "--replica-count=1"]).status();
        assert!(formatted.expect("tigerbeetle format").success());
        // With this address it also ends when its input does, so the process keeps that open.
        let mut start = server.command("start", &["--addresses=0"]);
        let mut process = start.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("tigerbeetle start");
        let mut said = String::new();
        let stdout = process.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut said).expect("the server says its port");
        server.process = Some(process);
        server.port = said.trim().parse().unwrap_or_else(|_| panic!("no port: {said:?}"));
        server
    }

    /// On the same port; returns when the server listens there.
    pub(crate) fn restart(&mut self) {
        let addresses = format!("--addresses=127.0.0.1:{}", self.port);
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not listen");
            let ended = self.process.as_mut().is_none_or(|process| process.try_wait().expect("wait").is_some());
            // Somebody else's connection may have the port for a moment.
            if ended {
                self.process = Some(self.command("start", &[&addresses]).spawn().expect("tigerbeetle start"));
            }
            std::thread::sleep(Duration::from_millis(20));
            if self.listens() {
                return;
            }
        }
    }

    /// Who connects to a port that nobody listens on, and is given that very port, has reached himself.
    fn listens(&self) -> bool {
        let ends =
            TcpStream::connect(("127.0.0.1", self.port)).and_then(|end| Ok((end.local_addr()?, end.peer_addr()?)));
        ends.is_ok_and(|(own, others)| own != others)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("kill");
            process.wait().expect("wait");
        }
    }

    /// What arrives now waits in the socket until `resume`.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("running").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(variable("TIGERBEETLE_BIN"));
        command.arg(verb).args(arguments).arg("--development").arg(self.directory.join("data"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.directory).expect("remove the server's directory");
    }
}

pub(crate) async fn client(port: u16, deadline: Duration) -> Ledger {
    let options = Options { deadline, ..Options::new(0, port.to_string()) };
    Ledger::connect(options).await.expect("a client")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
