//! Proves that a download ends with the right content in its place or with nothing there, whatever a
//! server does: every test talks HTTP with a small server of its own on the loopback.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;
use weft::data::download::{DownloadError, NoProgress, Options, Progress, fetch, sha256_hex};
use weft::data::fashion_mnist::{FILES, Lookup, SourceKind, load};
use weft::data::idx::write_labels;

const FILE: &str = "train-labels-idx1-ubyte.gz";

/// Content that gzip cannot shrink, so that half of it is more than one buffer.
fn content(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    write_labels(&(0..200_000).map(|_| next()).collect::<Vec<u8>>())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What a server is asked and where it answers.
struct Request {
    /// Counts from 0.
    number: usize,
    range_start: Option<usize>,
    /// The last part of the path.
    file: String,
    stream: TcpStream,
}

impl Request {
    fn head(&mut self, status: &str, length: usize, more: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).unwrap();
    }

    fn body(&mut self, bytes: &[u8]) {
        // The client may hang up on a body it does not want.
        let _ = self.stream.write_all(bytes);
    }

    /// As a good server does: everything, or from the byte asked for.
    fn answer_rightly(&mut self, file: &[u8]) {
        match self.range_start {
            None => self.head("200 OK", file.len(), ""),
            Some(start) if start >= file.len() => {
                return self.head("416 Range Not Satisfiable", 0, "");
            }
            Some(start) => {
                let range = format!(
                    "Content-Range: bytes {start}-{}/{}\r\n",
                    file.len() - 1,
                    file.len()
                );
                self.head("206 Partial Content", file.len() - start, &range);
            }
        }
        self.body(&file[self.range_start.unwrap_or(0)..]);
    }
}

struct Server {
    url: String,
    /// The range start of each request, in order.
    requests: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    fn requests(&self) -> Vec<Option<usize>> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut answer: impl FnMut(Request) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/data/", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let file = head[0]
                .strip_prefix("GET /data/")
                .and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
            let file = file
                .unwrap_or_else(|| panic!("asked {}", head[0]))
                .to_owned();
            let range = head.iter().find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("range: bytes=")
                    .map(str::to_owned)
            });
            let range_start = range.map(|range| range.trim_end_matches('-').parse().unwrap());
            seen.lock().unwrap().push(range_start);
            answer(Request {
                number,
                range_start,
                file,
                stream,
            });
        }
    });
    Server { url, requests }
}

/// Answers with half of the file once, then `then`.
fn breaks_off_once(file: Vec<u8>, mut then: impl FnMut(Request, &[u8]) + Send + 'static) -> Server {
    serve(move |mut request| match request.number {
        0 => {
            request.head("200 OK", file.len(), "");
            request.body(&file[..file.len() / 2]);
        }
        _ => then(request, &file),
    })
}

fn fetch_into(
    folder: &Path,
    content: &[u8],
    servers: &[&Server],
    progress: &mut dyn Progress,
) -> Result<(), DownloadError> {
    let mirrors: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    let options = Options {
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_millis(300),
        retries_per_mirror: 2,
        backoff: Duration::from_millis(5),
    };
    let path = fetch(
        FILE,
        &sha256_hex(content),
        &mirrors,
        folder,
        &options,
        progress,
    )?;
    assert_eq!(path, folder.join(FILE));
    Ok(())
}

fn assert_in_place(folder: &Path, file: &[u8]) {
    assert_eq!(fs::read(folder.join(FILE)).unwrap(), file);
    assert!(!part(folder).exists(), "the part file is still there");
}

fn assert_nothing_left(folder: &Path) {
    assert!(!folder.join(FILE).exists(), "a wrong file is in place");
    assert!(!part(folder).exists(), "a wrong part is left to be resumed");
}

fn part(folder: &Path) -> std::path::PathBuf {
    folder.join(format!("{FILE}.part"))
}

fn setup() -> (TempDir, Vec<u8>, Vec<u8>) {
    let content = content(7);
    let file = gzip(&content);
    (TempDir::new().unwrap(), content, file)
}

#[derive(Default)]
struct Events(Vec<String>, u64);

impl Progress for Events {
    fn start(&mut self, file: &str, total: Option<u64>, resumed_from: u64) {
        self.0
            .push(format!("start {file} {total:?} {resumed_from}"));
    }
    fn advance(&mut self, bytes: u64) {
        self.1 += bytes;
    }
    fn finish(&mut self) {
        self.0.push("finish".to_owned());
    }
    fn retry(&mut self, reason: &str) {
        self.0.push(format!("retry {reason}"));
    }
}

#[test]
fn a_good_server_is_asked_once_and_not_again_when_the_file_is_there() {
    let (folder, content, file) = setup();
    let (size, served) = (file.len(), file.clone());
    let server = serve(move |mut request| request.answer_rightly(&served));
    let cache = folder.path().join("not/yet/there");
    let mut events = Events::default();
    fetch_into(&cache, &content, &[&server], &mut events).unwrap();
    assert_in_place(&cache, &file);
    assert_eq!(
        events.0,
        [format!("start {FILE} Some({size}) 0"), "finish".to_owned()]
    );
    assert_eq!(events.1, size as u64);
    fetch_into(&cache, &content, &[&server], &mut NoProgress).unwrap();
    assert_eq!(server.requests(), [None]);
}

#[test]
fn a_download_that_broke_off_is_resumed_where_it_ended() {
    let (folder, content, file) = setup();
    let half = file.len() / 2;
    let server = breaks_off_once(file.clone(), |mut request, file| {
        request.answer_rightly(file)
    });
    let mut events = Events::default();
    fetch_into(folder.path(), &content, &[&server], &mut events).unwrap();
    assert_in_place(folder.path(), &file);
    assert_eq!(server.requests(), [None, Some(half)]);
    assert!(
        events.0[1].starts_with(&format!("retry broke off after {half} bytes")),
        "{:?}",
        events.0
    );
    assert_eq!(
        events.0[2],
        format!("start {FILE} Some({}) {half}", file.len())
    );
    assert_eq!(events.1, file.len() as u64);
}

#[test]
fn the_part_of_an_earlier_run_is_resumed() {
    let (folder, content, file) = setup();
    fs::write(part(folder.path()), &file[..1000]).unwrap();
    let served = file.clone();
    let server = serve(move |mut request| request.answer_rightly(&served));
    fetch_into(folder.path(), &content, &[&server], &mut NoProgress).unwrap();
    assert_in_place(folder.path(), &file);
    assert_eq!(server.requests(), [Some(1000)]);
}

#[test]
fn a_whole_part_of_an_earlier_run_needs_no_server() {
    let (folder, content, file) = setup();
    fs::write(part(folder.path()), &file).unwrap();
    fetch_into(folder.path(), &content, &[], &mut NoProgress).unwrap();
    assert_in_place(folder.path(), &file);
}

#[test]
fn the_part_of_another_file_costs_one_more_request() {
    let (folder, content, file) = setup();
    for stale in [
        gzip(&self::content(99))[..5000].to_vec(),
        [0x1f, 0x8b].repeat(400_000),
    ] {
        let _ = fs::remove_file(folder.path().join(FILE));
        fs::write(part(folder.path()), &stale).unwrap();
        let served = file.clone();
        let server = serve(move |mut request| request.answer_rightly(&served));
        fetch_into(folder.path(), &content, &[&server], &mut NoProgress).unwrap();
        assert_in_place(folder.path(), &file);
        assert_eq!(server.requests(), [Some(stale.len()), None]);
    }
}

#[test]
fn a_server_that_ignores_range_is_read_from_the_start() {
    let (folder, content, file) = setup();
    let server = breaks_off_once(file.clone(), |mut request, file| {
        request.head("200 OK", file.len(), "");
        request.body(file);
    });
    fetch_into(folder.path(), &content, &[&server], &mut NoProgress).unwrap();
    assert_in_place(folder.path(), &file);
    assert_eq!(server.requests(), [None, Some(file.len() / 2)]);
}

#[test]
fn a_range_that_was_not_asked_for_is_not_appended() {
    let (folder, content, file) = setup();
    let server = breaks_off_once(file.clone(), |mut request, file| {
        match request.range_start {
            None => request.answer_rightly(file),
            Some(start) => {
                let range = format!(
                    "Content-Range: bytes {}-{}/{}\r\n",
                    start - 9,
                    file.len() - 1,
                    file.len()
                );
                request.head("206 Partial Content", file.len() - start + 9, &range);
                request.body(&file[start - 9..]);
            }
        }
    });
    fetch_into(folder.path(), &content, &[&server], &mut NoProgress).unwrap();
    assert_in_place(folder.path(), &file);
    assert_eq!(server.requests(), [None, Some(file.len() / 2), None]);
}

#[test]
fn a_length_that_promises_too_much_is_found_out() {
    let (folder, content, file) = setup();
    let served = file.clone();
    let liar = serve(move |mut request| {
        request.head("200 OK", served.len() + 500, "");
        request.body(&served[..served.len() - 500]);
    });
    let error = fetch_into(folder.path(), &content, &[&liar], &mut NoProgress)
        .unwrap_err()
        .to_string();
    assert!(error.contains("broke off after"), "{error}");
    assert!(!folder.path().join(FILE).exists());
    assert_eq!(liar.requests().len(), 3, "one try and two retries");
}

#[test]
fn a_length_that_promises_too_little_is_found_out() {
    let (folder, content, file) = setup();
    let liar = serve(move |mut request| {
        request.head("200 OK", file.len() - 500, "");
        request.body(&file);
    });
    let error = fetch_into(folder.path(), &content, &[&liar], &mut NoProgress)
        .unwrap_err()
        .to_string();
    assert!(error.contains("wrong content"), "{error}");
    assert_nothing_left(folder.path());
}

#[test]
fn a_file_too_large_is_refused_before_it_is_read() {
    let (folder, content, _) = setup();
    let server = serve(|mut request| request.head("200 OK", 1 << 30, ""));
    let error = fetch_into(folder.path(), &content, &[&server], &mut NoProgress)
        .unwrap_err()
        .to_string();
    assert!(error.contains("too large"), "{error}");
    assert_nothing_left(folder.path());
}

#[test]
fn a_missing_file_is_asked_for_at_the_next_mirror_at_once() {
    let (folder, content, file) = setup();
    let without = serve(|mut request| request.head("404 Not Found", 0, ""));
    let served = file.clone();
    let good = serve(move |mut request| request.answer_rightly(&served));
    fetch_into(folder.path(), &content, &[&without, &good], &mut NoProgress).unwrap();
    assert_in_place(folder.path(), &file);
    assert_eq!(without.requests().len(), 1);
}

#[test]
fn a_busy_server_is_asked_again() {
    let (folder, content, file) = setup();
    let served = file.clone();
    let server = serve(move |mut request| match request.number {
        0 | 1 => request.head("503 Service Unavailable", 0, ""),
        _ => request.answer_rightly(&served),
    });
    fetch_into(folder.path(), &content, &[&server], &mut NoProgress).unwrap();
    assert_in_place(folder.path(), &file);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn wrong_content_leaves_nothing_and_the_next_mirror_is_asked() {
    let (folder, content, file) = setup();
    let mut flipped = file.clone();
    flipped[1000] ^= 1;
    let mut other_content = content.clone();
    other_content[100] ^= 1;
    for wrong in [
        flipped,
        gzip(&other_content),
        b"<html>no such bucket</html>".to_vec(),
    ] {
        let bad = serve(move |mut request| request.answer_rightly(&wrong));
        let error = fetch_into(folder.path(), &content, &[&bad], &mut NoProgress)
            .unwrap_err()
            .to_string();
        assert!(error.contains("wrong content"), "{error}");
        assert_nothing_left(folder.path());
        let served = file.clone();
        let good = serve(move |mut request| request.answer_rightly(&served));
        fetch_into(folder.path(), &content, &[&bad, &good], &mut NoProgress).unwrap();
        assert_in_place(folder.path(), &file);
        assert_eq!((bad.requests().len(), good.requests().len()), (2, 1));
        fs::remove_file(folder.path().join(FILE)).unwrap();
    }
}

#[test]
fn a_wrong_file_in_place_is_replaced() {
    let (folder, content, file) = setup();
    fs::write(folder.path().join(FILE), b"rubbish").unwrap();
    let served = file.clone();
    let server = serve(move |mut request| request.answer_rightly(&served));
    fetch_into(folder.path(), &content, &[&server], &mut NoProgress).unwrap();
    assert_in_place(folder.path(), &file);
}

#[test]
fn silence_ends_at_the_time_out_and_every_mirror_is_named() {
    let (folder, content, _) = setup();
    let mut held = Vec::new();
    let silent = serve(move |request| held.push(request));
    let refuses = Server {
        url: "http://127.0.0.1:1/data".to_owned(),
        requests: Arc::default(),
    };
    let without = serve(|mut request| request.head("404 Not Found", 0, ""));
    let start = Instant::now();
    let error = fetch_into(
        folder.path(),
        &content,
        &[&silent, &refuses, &without],
        &mut NoProgress,
    )
    .unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let DownloadError::AllMirrorsFailed { failures, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(failures.len(), 3);
    for server in [&silent, &refuses, &without] {
        assert!(error.to_string().contains(&server.url), "{error}");
    }
    assert!(failures[0].reason.contains("timeout"), "{error}");
    assert!(!folder.path().join(FILE).exists());
}

#[test]
fn a_body_that_stalls_is_resumed_after_the_time_out() {
    let (folder, content, file) = setup();
    let mut held = Vec::new();
    let (half, served) = (file.len() / 2, file.clone());
    let server = serve(move |mut request| {
        if request.number == 0 {
            request.head("200 OK", served.len(), "");
            request.body(&served[..half]);
            held.push(request);
        } else {
            request.answer_rightly(&served);
        }
    });
    fetch_into(folder.path(), &content, &[&server], &mut NoProgress).unwrap();
    assert_in_place(folder.path(), &file);
    assert_eq!(server.requests(), [None, Some(half)]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (folder, content, file) = setup();
    let server = serve(move |mut request| request.answer_rightly(&file));
    let blocked = folder.path().join("a-file");
    fs::write(&blocked, b"").unwrap();
    let error = fetch_into(&blocked, &content, &[&server], &mut NoProgress)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("{}: cannot create the folder", blocked.display())),
        "{error}"
    );
    assert_eq!(server.requests(), []);
}

#[test]
fn two_processes_at_once_download_once() {
    let (folder, content, file) = setup();
    let served = file.clone();
    let server = serve(move |mut request| {
        std::thread::sleep(Duration::from_millis(50));
        request.answer_rightly(&served);
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                fetch_into(folder.path(), &content, &[&server], &mut NoProgress).unwrap()
            });
        }
    });
    assert_in_place(folder.path(), &file);
    assert_eq!(server.requests(), [None]);
}

#[test]
fn fashion_mnist_is_downloaded_into_the_cache_and_found_there_the_next_time() {
    let debian = Path::new("/usr/share/datasets/fashion-mnist");
    if !debian.is_dir() {
        eprintln!(
            "skipped: {} is not there (apt install dataset-fashion-mnist)",
            debian.display()
        );
        return;
    }
    let root = TempDir::new().unwrap();
    let server = serve(move |mut request| {
        let file = fs::read(debian.join(&request.file)).unwrap();
        request.answer_rightly(&file);
    });
    let mut lookup = Lookup {
        request: "auto",
        data_dir: None,
        cache_dir: root.path().join("cache"),
        cache_root: root.path().join("cache"),
        system_dir: root.path().join("system"),
        mirrors: vec![server.url.clone()],
        download: true,
    };
    let downloaded = load(&lookup, &mut NoProgress).unwrap();
    assert_eq!(downloaded.source.kind, SourceKind::FashionMnist);
    assert_eq!(
        downloaded.source.location,
        lookup.cache_dir.to_str().unwrap()
    );
    assert_eq!(server.requests().len(), FILES.len());
    lookup.download = false;
    assert_eq!(load(&lookup, &mut NoProgress).unwrap(), downloaded);
}
