//! One request for one file: what the answer means, and its body onto the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::{DownloadError, Options, Progress, Target, check_content, on_disk};

/// The largest file accepted from a server; Fashion-MNIST's largest is 26 MB.
pub(super) const MAX_DOWNLOAD_BYTES: u64 = 64 << 20;

/// Why one attempt gave no file, and so what to do next.
pub(super) enum Failure {
    /// Ask here again; what is on disk is resumed.
    Retry(String),
    /// Ask here again, but what is on disk is of no use.
    StartOver(String),
    /// This mirror does not have the file or cannot be reached. What is on disk may still be good.
    NextMirror(String),
    /// This mirror has something else under that name.
    WrongFile(String),
    /// Our own disk failed, which no mirror can mend.
    Local(DownloadError),
}

/// One request, streamed to the part file and checked.
pub(super) fn attempt(
    agent: &Agent,
    url: &str,
    target: &Target,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let partial = target.resumable_bytes();
    let mut request = agent.get(url);
    if partial > 0 {
        request = request.header(header::RANGE, format!("bytes={partial}-"));
    }
    let mut response = request.call().map_err(no_connection)?;
    let resumed_from = body_start(&response, partial)?;
    let length = response.body().content_length();
    let total = length.map(|length| length.saturating_add(resumed_from));
    check_size(total.unwrap_or(0))?;
    progress.start(target.file, total, resumed_from);
    copy_body(response.body_mut(), target, resumed_from, progress)?;
    check_content(&target.part, target.sha256_of_content).map_err(|reason| match resumed_from {
        0 => Failure::WrongFile(reason),
        // What was resumed may be at fault, and not this mirror.
        _ => Failure::StartOver(reason),
    })
}

/// Where in the file the body begins, if the answer is one to go on with.
fn body_start(response: &Response<Body>, partial: u64) -> Result<u64, Failure> {
    let status = response.status();
    match status {
        // Also the answer of a server that ignores Range: it sends everything again.
        StatusCode::OK => Ok(0),
        StatusCode::PARTIAL_CONTENT if partial > 0 => {
            let range = response.headers().get(header::CONTENT_RANGE);
            let range = range
                .and_then(|value| value.to_str().ok())
                .unwrap_or("nothing");
            if range_start(range) == Some(partial) {
                return Ok(partial);
            }
            let reason = format!("asked for bytes from {partial}, was answered {range}");
            Err(Failure::StartOver(reason))
        }
        StatusCode::RANGE_NOT_SATISFIABLE if partial > 0 => Err(Failure::StartOver(format!(
            "has no bytes from {partial} on"
        ))),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::Retry(format!("answered {status}")))
        }
        _ if status.is_server_error() => Err(Failure::Retry(format!("answered {status}"))),
        _ => Err(Failure::NextMirror(format!("answered {status}"))),
    }
}

/// The start in `bytes 100-199/200`.
fn range_start(content_range: &str) -> Option<u64> {
    content_range
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .trim()
        .parse()
        .ok()
}

fn copy_body(
    body: &mut Body,
    target: &Target,
    resumed_from: u64,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let local = |reason| Failure::Local(on_disk(&target.part, "write", reason));
    let mut part = open_part(&target.part, resumed_from).map_err(local)?;
    let mut reader = body.as_reader();
    let mut buffer = vec![0; 64 << 10];
    let mut n_bytes = resumed_from;
    loop {
        let n_read = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let reason = format!("broke off after {n_bytes} bytes: {error}");
                return Err(Failure::Retry(reason));
            }
        };
        n_bytes += n_read as u64;
        check_size(n_bytes)?;
        part.write_all(&buffer[..n_read]).map_err(local)?;
        progress.advance(n_read as u64);
    }
}

fn open_part(part: &Path, resumed_from: u64) -> io::Result<File> {
    if resumed_from > 0 {
        OpenOptions::new().append(true).open(part)
    } else {
        File::create(part)
    }
}

fn check_size(n_bytes: u64) -> Result<(), Failure> {
    if n_bytes <= MAX_DOWNLOAD_BYTES {
        return Ok(());
    }
    let reason = format!("too large: expected at most {MAX_DOWNLOAD_BYTES} bytes, found {n_bytes}");
    Err(Failure::WrongFile(reason))
}

pub(super) fn agent(mirror: &str, options: &Options) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.read_timeout))
        .timeout_per_read(Some(options.read_timeout))
        // The file itself is gzip; another layer would only make its length unknown.
        .accept_encoding("identity")
        .user_agent(concat!("weft/", env!("CARGO_PKG_VERSION")));
    // A proxy elsewhere cannot reach this machine's loopback.
    if mirror.starts_with("http://127.0.0.1") || mirror.starts_with("http://localhost") {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

fn no_connection(error: ureq::Error) -> Failure {
    let reason = format!("no connection: {error}");
    match error {
        // Without a network every try ends so; waiting and asking again would only cost time.
        ureq::Error::HostNotFound | ureq::Error::BadUri(_) => Failure::NextMirror(reason),
        ureq::Error::Io(error) if is_unreachable(error.kind()) => Failure::NextMirror(reason),
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            Failure::NextMirror(reason)
        }
        _ => Failure::Retry(reason),
    }
}

fn is_unreachable(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(
        kind,
        ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}
