//! What passed through a proxy, read as exchanges of HTTP.

use std::sync::{Arc, Mutex};

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// All bytes of all connections, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript(Arc<Mutex<Vec<Piece>>>);

#[derive(Clone, Debug)]
struct Piece {
    connection: usize,
    way: Way,
    bytes: Vec<u8>,
}

/// A request with its reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    /// Where the request stands among all that was recorded.
    pub(crate) began: usize,
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) path: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// None where the connection ended before.
    pub(crate) reply: Option<Answer>,
}

/// Headers with their names in lower case.
pub(crate) type Headers = Vec<(String, String)>;

/// A reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// What the server sent over the websocket that the connection has become.
    pub(crate) messages: Vec<Vec<u8>>,
    /// Where its last byte stands among all that was recorded.
    pub(crate) ended: usize,
}

impl Exchange {
    /// The same with other words in the place of some.
    pub(crate) fn without(&self, words: &[(String, String)]) -> Exchange {
        let clean = |text: &str| {
            let all = words.iter();
            all.fold(text.to_owned(), |text, (word, by)| text.replace(word, by))
        };
        let bytes = |bytes: &[u8]| match str::from_utf8(bytes) {
            Ok(text) => clean(text).into_bytes(),
            Err(_) => bytes.to_vec(),
        };
        let headers = |headers: &Headers| {
            let all = headers.iter();
            all.map(|(name, value)| (name.clone(), clean(value)))
                .collect()
        };
        Exchange {
            path: clean(&self.path),
            headers: headers(&self.headers),
            body: bytes(&self.body),
            reply: self.reply.as_ref().map(|reply| Answer {
                headers: headers(&reply.headers),
                body: bytes(&reply.body),
                messages: reply
                    .messages
                    .iter()
                    .map(|message| bytes(message))
                    .collect(),
                ..reply.clone()
            }),
            ..self.clone()
        }
    }
}

impl Transcript {
    pub(crate) fn add(&self, connection: usize, way: Way, bytes: &[u8]) {
        self.0.lock().expect("no panic").push(Piece {
            connection,
            way,
            bytes: bytes.to_vec(),
        });
    }

    pub(crate) fn clear(&self) {
        self.0.lock().expect("no panic").clear();
    }

    /// The exchanges so far, in the order of their requests.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        let pieces = self.0.lock().expect("no panic");
        let last = pieces.iter().map(|piece| piece.connection).max();
        let mut all: Vec<Exchange> = (0..=last.unwrap_or(0))
            .flat_map(|connection| {
                let stream = |way| Stream::of(&pieces, connection, way);
                conversation(stream(Way::ToServer), stream(Way::ToClient))
            })
            .collect();
        all.sort_by_key(|exchange| exchange.began);
        all
    }
}

/// Requests and replies of one connection, until it speaks another protocol.
fn conversation(mut requests: Stream, mut replies: Stream) -> Vec<Exchange> {
    let mut all = Vec::new();
    while let Some(mut exchange) = requests.request() {
        exchange.reply = replies.reply(&exchange.method);
        let reply = exchange.reply.as_mut();
        let upgraded = reply.filter(|reply| reply.status == 101);
        let over = upgraded.is_some();
        if let Some(reply) = upgraded
            && value(&reply.headers, "upgrade") == Some("websocket")
        {
            reply.messages = replies.messages();
        }
        all.push(exchange);
        if over {
            break;
        }
    }
    all
}

/// What one side of a connection has sent.
struct Stream {
    bytes: Vec<u8>,
    /// Where a piece begins, and its number.
    pieces: Vec<(usize, usize)>,
    at: usize,
}

impl Stream {
    fn of(all: &[Piece], connection: usize, way: Way) -> Self {
        let mut stream = Self {
            bytes: Vec::new(),
            pieces: Vec::new(),
            at: 0,
        };
        for (number, piece) in all.iter().enumerate() {
            if piece.connection == connection && piece.way == way {
                stream.pieces.push((stream.bytes.len(), number));
                stream.bytes.extend_from_slice(&piece.bytes);
            }
        }
        stream
    }

    fn left(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// The number of the piece that a byte is in.
    fn number(&self, at: usize) -> usize {
        let after = self.pieces.partition_point(|(start, _)| *start <= at);
        self.pieces
            .get(after.saturating_sub(1))
            .map_or(0, |piece| piece.1)
    }

    fn request(&mut self) -> Option<Exchange> {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(self.left()).expect("HTTP") else {
            return None;
        };
        let mut exchange = Exchange {
            began: self.number(self.at),
            method: head.method.unwrap_or_default().to_owned(),
            path: head.path.unwrap_or_default().to_owned(),
            headers: plain(head.headers),
            ..Exchange::default()
        };
        self.at += length;
        exchange.body = match Self::length(&exchange.headers) {
            Length::Known(length) => self.take(length),
            Length::Chunked => self.chunks(),
            Length::Unknown => Vec::new(),
        };
        Some(exchange)
    }

    fn reply(&mut self, method: &str) -> Option<Answer> {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(self.left()).expect("HTTP") else {
            return None;
        };
        let mut answer = Answer {
            status: head.code.unwrap_or_default(),
            headers: plain(head.headers),
            ..Answer::default()
        };
        self.at += length;
        if answer.status == 100 {
            return self.reply(method);
        }
        let bare = method == "HEAD" || matches!(answer.status, 101 | 204 | 304);
        answer.body = match Self::length(&answer.headers) {
            _ if bare => Vec::new(),
            Length::Known(length) => self.take(length),
            Length::Chunked => self.chunks(),
            Length::Unknown => self.take(usize::MAX),
        };
        answer.ended = self.number(self.at.saturating_sub(1));
        Some(answer)
    }

    /// The whole messages of a websocket, as a server sends them: not masked.
    fn messages(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut message = Vec::new();
        while let [first, second, rest @ ..] = self.left() {
            let (more, length) = match (second & 0x7f, rest) {
                (126, [a, b, ..]) => (2, usize::from(u16::from_be_bytes([*a, *b]))),
                (127, [_, _, _, _, a, b, c, d, ..]) => {
                    (8, u32::from_be_bytes([*a, *b, *c, *d]) as usize)
                }
                (length, _) => (0, usize::from(length)),
            };
            let (last, kind) = (first & 0x80 != 0, first & 0x0f);
            self.take(2 + more);
            let payload = self.take(length);
            // Continued, text or bytes; all else is between the machines.
            if kind <= 2 {
                message.extend(payload);
                if last {
                    all.push(std::mem::take(&mut message));
                }
            }
        }
        all
    }

    fn length(headers: &Headers) -> Length {
        if value(headers, "transfer-encoding").is_some_and(|how| how.contains("chunked")) {
            return Length::Chunked;
        }
        let length = value(headers, "content-length").and_then(|length| length.parse().ok());
        length.map_or(Length::Unknown, Length::Known)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let end = self.at.saturating_add(length).min(self.bytes.len());
        let taken = self.bytes[self.at..end].to_vec();
        self.at = end;
        taken
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // A stream that breaks off has no last chunk.
        while let Ok(httparse::Status::Complete((head, size))) =
            httparse::parse_chunk_size(self.left())
        {
            self.at += head;
            let size = usize::try_from(size).expect("a size");
            all.extend(self.take(size));
            if size == 0 {
                self.trailers();
                break;
            }
            self.take(2);
        }
        all
    }

    fn trailers(&mut self) {
        while let Some(end) = self.left().windows(2).position(|pair| pair == b"\r\n") {
            self.at += end + 2;
            if end == 0 {
                break;
            }
        }
    }
}

enum Length {
    Known(usize),
    Chunked,
    Unknown,
}

/// The value of a header.
pub(crate) fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

fn plain(headers: &[httparse::Header<'_>]) -> Headers {
    let plain = headers.iter().map(|header| {
        (
            header.name.to_lowercase(),
            String::from_utf8_lossy(header.value).into_owned(),
        )
    });
    plain.collect()
}
