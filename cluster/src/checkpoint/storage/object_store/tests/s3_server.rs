//! A small stand-in for S3 on the loopback: objects with metadata, conditional puts, ranges, lists in short pages,
//! uploads in parts. It believes every signature, and can be told to close connections instead of answering.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Keys in one page of a list.
const PAGE: usize = 2;

/// An object with the headers it was written with.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    pub(super) bytes: Vec<u8>,
    metadata: Vec<(String, String)>,
}

/// The key, what is to be there, and the parts by number.
type Upload = (String, Object, BTreeMap<u32, Vec<u8>>);

#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    /// How many of the next requests that change something are performed and not answered.
    pub(super) lose: u32,
    pub(super) requests: Vec<String>,
}

/// The server. It listens until the process ends.
pub(super) struct Server {
    pub(super) endpoint: String,
    pub(super) content: Arc<Mutex<Content>>,
}

impl Server {
    #[allow(
        clippy::disallowed_methods,
        reason = "another process, played by threads"
    )]
    pub(super) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let content: Arc<Mutex<Content>> = Arc::default();
        let shared = Arc::clone(&content);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(connection, &shared));
            }
        });
        Server { endpoint, content }
    }
}

struct Request {
    method: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn serve(connection: TcpStream, content: &Mutex<Content>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut writer = connection;
    while let Some(request) = read(&mut reader) {
        let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{} {} {:?}", request.method, request.key, request.query);
        content.requests.push(line);
        let answer = answer(&mut content, &request);
        let changes = ["PUT", "POST", "DELETE"].contains(&&*request.method);
        if changes && content.lose > 0 {
            content.lose -= 1;
            return;
        }
        drop(content);
        let mut head = format!("HTTP/1.1 {}\r\n", answer.status);
        let named = answer
            .headers
            .iter()
            .any(|(name, _)| name == "content-length");
        if !named {
            head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
        }
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let sent = writer.write_all(head.as_bytes());
        if sent.and_then(|()| writer.write_all(&answer.body)).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    let length = headers
        .get("content-length")
        .map_or(0, |it| it.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.to_owned(), decoded(value))
        });
    Some(Request {
        method,
        key: decoded(path)
            .trim_start_matches("/bucket")
            .trim_start_matches('/')
            .to_owned(),
        query: query.collect(),
        headers,
        body,
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap().to_owned();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

fn status(status: &'static str) -> Answer {
    xml(status, String::new())
}

fn xml(status: &'static str, body: String) -> Answer {
    Answer {
        status,
        headers: Vec::new(),
        body: body.into_bytes(),
    }
}

fn answer(content: &mut Content, request: &Request) -> Answer {
    let asks = |name: &str| request.query.contains_key(name);
    match &*request.method {
        "GET" if asks("list-type") => list(content, request),
        "GET" | "HEAD" => get(content, request),
        "PUT" if asks("partNumber") => {
            let number = request.query["partNumber"].parse().unwrap();
            let Some(upload) = content.uploads.get_mut(&request.query["uploadId"]) else {
                return status("404 Not Found");
            };
            upload.2.insert(number, request.body.clone());
            tagged(format!("\"part-{number}\""))
        }
        "PUT" => put(content, request),
        "POST" if asks("uploads") => {
            let id = format!("upload-{}", content.requests.len());
            let object = Object {
                bytes: Vec::new(),
                metadata: metadata_of(request),
            };
            let upload = (request.key.clone(), object, BTreeMap::new());
            content.uploads.insert(id.clone(), upload);
            let begun = "InitiateMultipartUploadResult";
            xml(
                "200 OK",
                format!("<{begun}><UploadId>{id}</UploadId></{begun}>"),
            )
        }
        "POST" if asks("uploadId") => {
            let Some((key, mut object, parts)) = content.uploads.remove(&request.query["uploadId"])
            else {
                return status("404 Not Found");
            };
            object.bytes = parts.into_values().flatten().collect();
            content.objects.insert(key, object);
            let done = "CompleteMultipartUploadResult";
            xml("200 OK", format!("<{done}><ETag>\"whole\"</ETag></{done}>"))
        }
        "POST" if asks("delete") => {
            let asked = String::from_utf8(request.body.clone()).unwrap();
            let mut deleted = String::new();
            for part in asked.split("<Key>").skip(1) {
                let key = part.split("</Key>").next().unwrap();
                content.objects.remove(key);
                deleted.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
            }
            xml("200 OK", format!("<DeleteResult>{deleted}</DeleteResult>"))
        }
        "DELETE" if asks("uploadId") => {
            content.uploads.remove(&request.query["uploadId"]);
            status("204 No Content")
        }
        "DELETE" => {
            content.objects.remove(&request.key);
            status("204 No Content")
        }
        _ => status("405 Method Not Allowed"),
    }
}

fn metadata_of(request: &Request) -> Vec<(String, String)> {
    let headers = request.headers.iter();
    headers
        .filter(|(name, _)| name.starts_with("x-amz-meta-"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn tagged(tag: String) -> Answer {
    Answer {
        headers: vec![("etag".to_owned(), tag)],
        ..status("200 OK")
    }
}

fn put(content: &mut Content, request: &Request) -> Answer {
    let only_new = request
        .headers
        .get("if-none-match")
        .is_some_and(|it| it == "*");
    if only_new && content.objects.contains_key(&request.key) {
        return status("412 Precondition Failed");
    }
    let object = Object {
        bytes: request.body.clone(),
        metadata: metadata_of(request),
    };
    content.objects.insert(request.key.clone(), object);
    tagged(format!("\"{}\"", request.body.len()))
}

fn get(content: &Content, request: &Request) -> Answer {
    let Some(object) = content.objects.get(&request.key) else {
        return status("404 Not Found");
    };
    let mut answer = tagged(format!("\"{}\"", object.bytes.len()));
    answer.headers.push((
        "last-modified".to_owned(),
        "Wed, 21 Oct 2026 07:28:00 GMT".to_owned(),
    ));
    answer.headers.extend(object.metadata.iter().cloned());
    if request.method == "HEAD" {
        let length = ("content-length".to_owned(), object.bytes.len().to_string());
        answer.headers.push(length);
        return answer;
    }
    let Some(range) = request.headers.get("range") else {
        answer.body = object.bytes.clone();
        return answer;
    };
    let (from, to) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let (from, whole): (usize, usize) = (from.parse().unwrap(), object.bytes.len());
    let to = to.parse().map_or(whole, |to: usize| whole.min(to + 1));
    if from >= whole {
        return status("416 Range Not Satisfiable");
    }
    answer.status = "206 Partial Content";
    let range = format!("bytes {from}-{}/{whole}", to - 1);
    answer.headers.push(("content-range".to_owned(), range));
    answer.body = object.bytes[from..to].to_vec();
    answer
}

fn list(content: &Content, request: &Request) -> Answer {
    let asked = |name: &str| request.query.get(name).map_or("", |value| value);
    let prefix = asked("prefix");
    // Of every key what is shown of it: the key, or what it has in common with others up to the delimiter.
    let mut shown: Vec<(String, Option<usize>)> = Vec::new();
    for (key, object) in &content.objects {
        let Some(rest) = key.strip_prefix(prefix) else {
            continue;
        };
        let next = match rest.split_once('/') {
            Some((directory, _)) if asked("delimiter") == "/" => {
                (format!("{prefix}{directory}/"), None)
            }
            _ => (key.clone(), Some(object.bytes.len())),
        };
        if shown.last().is_none_or(|(last, _)| *last != next.0) {
            shown.push(next);
        }
    }
    shown.retain(|(key, _)| &**key > asked("continuation-token"));
    let more = shown.len() > PAGE;
    shown.truncate(PAGE);
    let mut body = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    if let (true, Some((last, _))) = (more, shown.last()) {
        body.push_str(&format!(
            "<NextContinuationToken>{last}</NextContinuationToken>"
        ));
    }
    for (key, size) in shown {
        body.push_str(&match size {
            Some(size) => format!(
                "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>\"{size}\"</ETag>\
                 <LastModified>2026-10-21T07:28:00.000Z</LastModified></Contents>"
            ),
            None => format!("<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"),
        });
    }
    body.push_str("</ListBucketResult>");
    xml("200 OK", body)
}
