//! Commands about whose a file is, in the words of busybox.

use std::time::SystemTime;

use bashkit::{
    BuiltinContext, Command, CommandContext, CommandStatus, ExecResult, FileType, Result,
    async_trait,
};
use sha2::{Digest, Sha256};

use super::{Own, name_in, number_in};
use crate::state::tree::{Content, Last, Node, Trouble};

/// What a file is, with what only the instance's own tree knows of it.
struct Stat {
    name: String,
    kind: FileType,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    links: usize,
    inode: u64,
    modified: SystemTime,
    target: Option<String>,
}

/// The size of a block that `%b` counts.
const BLOCK: u64 = 512;
/// What the file system reads and writes at once.
const PAGE: u64 = 4096;

fn absolute(context: &BuiltinContext<'_>, path: &str) -> String {
    context.cwd.join(path).to_string_lossy().into_owned()
}

impl Own {
    /// `stat [-L] [-t] [-c FORMAT] FILE…`
    pub(super) async fn stat(
        &self,
        context: &BuiltinContext<'_>,
        arguments: &[&str],
    ) -> ExecResult {
        const TERSE: &str = "%n %s %b %f %u %g %D %i %h %t %T %X %Y %Z %o";
        let mut format = None;
        let mut last = Last::Keep;
        let mut files = Vec::new();
        let mut arguments = arguments.iter().copied();
        while let Some(argument) = arguments.next() {
            match argument {
                "-c" => format = arguments.next(),
                "-L" => last = Last::Follow,
                "-t" => format = Some(TERSE),
                "-Lc" | "-cL" => (last, format) = (Last::Follow, arguments.next()),
                other => match other.strip_prefix("-c") {
                    Some(given) => format = Some(given),
                    None => files.push(other),
                },
            }
        }
        let (mut out, mut err) = (String::new(), String::new());
        for file in files {
            match self.look(context, (file, last)).await {
                Ok(stat) => match format {
                    Some(format) => out.push_str(&format!("{}\n", self.formatted(&stat, format))),
                    None => out.push_str(&self.described(&stat)),
                },
                Err(why) => err.push_str(&format!("stat: can't stat '{file}': {why}\n")),
            }
        }
        let mut result = ExecResult::with_code(out, i32::from(!err.is_empty()));
        result.stderr = err.into();
        result
    }

    async fn look(
        &self,
        context: &BuiltinContext<'_>,
        (file, last): (&str, Last),
    ) -> std::result::Result<Stat, &'static str> {
        let path = absolute(context, file);
        let found = {
            let tree = self.place.tree.lock();
            tree.get(&path, last).map(|(path, node)| {
                let below = tree.list(&path).unwrap_or_default();
                let folders = below.iter().filter(|(_, node)| node.is_folder()).count();
                (path, node.clone(), folders)
            })
        };
        match found {
            Ok((path, node, folders)) => Ok(stat_of((file, &path), &node, folders)),
            // What is not in the tree is a file of `/proc` or `/dev`.
            Err(trouble) => {
                let metadata = context.fs.stat(std::path::Path::new(&path)).await;
                let metadata = metadata.map_err(|_| trouble.text())?;
                Ok(Stat {
                    name: file.to_owned(),
                    kind: metadata.file_type,
                    size: metadata.size,
                    mode: metadata.mode,
                    uid: 0,
                    gid: 0,
                    links: 1,
                    inode: inode(&path),
                    modified: metadata.modified,
                    target: None,
                })
            }
        }
    }

    fn formatted(&self, stat: &Stat, format: &str) -> String {
        let mut text = String::new();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter == '%' {
                let of = letters.next().unwrap_or('%');
                text.push_str(&self.part(stat, of));
            } else {
                text.push(letter);
            }
        }
        text
    }

    fn part(&self, stat: &Stat, letter: char) -> String {
        let named = |file, number: u32| {
            name_in(&self.place, (file, number)).unwrap_or_else(|| "UNKNOWN".to_owned())
        };
        match letter {
            'a' => format!("{:o}", stat.mode),
            'A' => letters(stat),
            'b' => (stat.size.div_ceil(PAGE) * (PAGE / BLOCK)).to_string(),
            'B' => BLOCK.to_string(),
            'd' | 'D' => "1".to_owned(),
            'f' => format!("{:x}", kind_bits(stat.kind) | stat.mode),
            'F' => kind_words(stat).to_owned(),
            'g' => stat.gid.to_string(),
            'G' => named("/etc/group", stat.gid),
            'h' => stat.links.to_string(),
            'i' => stat.inode.to_string(),
            'n' => stat.name.clone(),
            'N' => match &stat.target {
                Some(target) => format!("'{}' -> '{target}'", stat.name),
                None => stat.name.clone(),
            },
            'o' => PAGE.to_string(),
            's' => stat.size.to_string(),
            't' | 'T' => "0".to_owned(),
            'u' => stat.uid.to_string(),
            'U' => named("/etc/passwd", stat.uid),
            'x' | 'y' | 'z' => when(stat.modified),
            'X' | 'Y' | 'Z' => {
                let since = stat.modified.duration_since(SystemTime::UNIX_EPOCH);
                since.unwrap_or_default().as_secs().to_string()
            }
            '%' => "%".to_owned(),
            _ => "?".to_owned(),
        }
    }

    fn described(&self, stat: &Stat) -> String {
        let part = |letter| self.part(stat, letter);
        let when = part('y');
        format!(
            "  File: {}\n  Size: {:<10}\tBlocks: {:<10} IO Block: {:<6} {}\n\
             Device: {}h/{}d\tInode: {:<10}  Links: {}\n\
             Access: ({:04o}/{})  Uid: ({:>5}/{:>8})   Gid: ({:>5}/{:>8})\n\
             Access: {when}\nModify: {when}\nChange: {when}\n",
            part('N'),
            stat.size,
            part('b'),
            PAGE,
            part('F'),
            part('D'),
            part('d'),
            stat.inode,
            stat.links,
            stat.mode,
            letters(stat),
            stat.uid,
            part('U'),
            stat.gid,
            part('G'),
        )
    }

    /// `chown [-R] [-h] OWNER[:GROUP] FILE…` and `chgrp [-R] [-h] GROUP FILE…`
    pub(super) fn change_owner(
        &self,
        context: &BuiltinContext<'_>,
        arguments: &[&str],
    ) -> ExecResult {
        let (options, plain): (Vec<&str>, Vec<&str>) = arguments
            .iter()
            .partition(|argument| argument.starts_with('-') && argument.len() > 1);
        let has = |flag| options.iter().any(|option| option.contains(flag));
        let Some((owner, files)) = plain.split_first().filter(|(_, files)| !files.is_empty())
        else {
            return ExecResult::err(format!("{}: missing operand\n", self.name), 1);
        };
        let owner = match self.owner(owner) {
            Ok(owner) => owner,
            Err(why) => return ExecResult::err(format!("{}: {why}\n", self.name), 1),
        };
        let last = if has('h') { Last::Keep } else { Last::Follow };
        let mut failed = String::new();
        for file in files {
            let path = absolute(context, file);
            let mut paths = vec![(path.clone(), last)];
            if has('R') {
                let below = self.place.tree.lock().all_below(&path);
                paths.extend(below.into_iter().map(|path| (path, Last::Keep)));
            }
            for (path, last) in paths {
                let done = self.give(&path, (owner, last));
                if let Err(why) = done {
                    failed.push_str(&format!("{}: {file}: {why}\n", self.name));
                }
            }
        }
        let mut result = ExecResult::with_code("", i32::from(!failed.is_empty()));
        result.stderr = failed.into();
        result
    }

    fn give(
        &self,
        path: &str,
        ((user, group), last): ((Option<u32>, Option<u32>), Last),
    ) -> std::result::Result<(), &'static str> {
        let mut tree = self.place.tree.lock();
        let (path, node) = tree.get(path, last).map_err(Trouble::text)?;
        let own = user.is_none_or(|user| user == node.uid) && self.user == node.uid;
        if self.user != 0 && !own {
            return Err("Operation not permitted");
        }
        let changed = tree.change_at(&path, |node| {
            // A program does not get the rights of its new owner.
            if !node.is_folder() {
                node.mode &= if node.mode & 0o010 == 0 {
                    0o3777
                } else {
                    0o1777
                };
            }
            node.uid = user.unwrap_or(node.uid);
            node.gid = group.unwrap_or(node.gid);
        });
        changed.map_err(Trouble::text)
    }

    /// What an owner is in numbers; `USER:` means the group of the user.
    fn owner(&self, text: &str) -> std::result::Result<(Option<u32>, Option<u32>), String> {
        let (user, group) = if self.name == "chgrp" {
            ("", Some(text))
        } else {
            match text.split_once([':', '.']) {
                Some((user, group)) => (user, Some(group)),
                None => (text, None),
            }
        };
        let both = !user.is_empty() && group.is_some();
        let number = |(file, kind): (&str, &str), name: &str| {
            let found = number_in(&self.place, (file, name));
            found.ok_or_else(|| {
                if both {
                    format!("unknown user/group {text}")
                } else {
                    format!("unknown {kind} {name}")
                }
            })
        };
        let user = match user {
            "" => None,
            user => Some(number(("/etc/passwd", "user"), user)?),
        };
        let group = match group {
            None => None,
            Some("") => user,
            Some(group) => Some(number(("/etc/group", "group"), group)?),
        };
        Ok((user, group))
    }
}

fn stat_of((name, path): (&str, &str), node: &Node, folders: usize) -> Stat {
    let (kind, size, target) = match &node.content {
        Content::File(bytes) => (FileType::File, bytes.len() as u64, None),
        Content::Folder => (FileType::Directory, PAGE, None),
        Content::Link(target) => (FileType::Symlink, target.len() as u64, Some(target.clone())),
    };
    Stat {
        name: name.to_owned(),
        kind,
        size,
        mode: node.mode & 0o7777,
        uid: node.uid,
        gid: node.gid,
        links: if node.is_folder() { folders + 2 } else { 1 },
        inode: inode(path),
        modified: node.modified,
        target,
    }
}

/// A number that stays the same for a path.
fn inode(path: &str) -> u64 {
    let digest = Sha256::digest(path.as_bytes());
    u64::from(u32::from_be_bytes([
        digest[0] & 0x0f,
        digest[1],
        digest[2],
        digest[3],
    ]))
}

fn kind_bits(kind: FileType) -> u32 {
    match kind {
        FileType::Directory => 0o040_000,
        FileType::Symlink => 0o120_000,
        FileType::Fifo => 0o010_000,
        FileType::File => 0o100_000,
    }
}

fn kind_words(stat: &Stat) -> &'static str {
    match stat.kind {
        FileType::Directory => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "fifo",
        FileType::File if stat.size == 0 => "regular empty file",
        FileType::File => "regular file",
    }
}

/// The mode as `ls -l` writes it.
fn letters(stat: &Stat) -> String {
    let mut text = String::from(match stat.kind {
        FileType::Directory => "d",
        FileType::Symlink => "l",
        FileType::Fifo => "p",
        FileType::File => "-",
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = stat.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (stat.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A time as busybox writes it.
fn when(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_nanos(time).to_string();
    text.replace('T', " ").replace('Z', " +0000")
}

/// `cat`, which says in words of its own why a file cannot be read.
pub(in crate::exec) struct Cat;

#[async_trait]
impl Command for Cat {
    async fn execute(&self, context: CommandContext<'_>) -> Result<CommandStatus> {
        let (options, mut files): (Vec<&str>, Vec<&str>) = context
            .args
            .iter()
            .map(String::as_str)
            .partition(|argument| argument.starts_with('-') && argument.len() > 1);
        if files.is_empty() {
            files.push("-");
        }
        let numbered = options.iter().any(|option| option.contains('n'));
        let (mut code, mut line) = (0, 0);
        for file in files {
            if file == "-" {
                while let Some(chunk) = context.stdin.read_chunk().await? {
                    let chunk = if numbered {
                        number(&chunk, &mut line)
                    } else {
                        chunk
                    };
                    context.stdout.write_all(&chunk).await?;
                }
                continue;
            }
            match context.fs.read_file(&context.cwd.join(file)).await {
                Ok(bytes) => {
                    let bytes = if numbered {
                        number(&bytes, &mut line)
                    } else {
                        bytes
                    };
                    context.stdout.write_all(&bytes).await?;
                }
                Err(error) => {
                    let text = match error {
                        bashkit::Error::Io(error)
                            if error.kind() == std::io::ErrorKind::IsADirectory =>
                        {
                            "read error: Is a directory".to_owned()
                        }
                        error => format!("can't open '{file}': {}", last_part(&error)),
                    };
                    let text = format!("cat: {text}\n");
                    context.stderr.write_all(text.as_bytes()).await?;
                    code = 1;
                }
            }
        }
        Ok(CommandStatus::with_code(code))
    }
}

/// An error without what the layers above have put before it.
fn last_part(error: &bashkit::Error) -> String {
    let text = error.to_string();
    let last = text.rsplit(": ").next().unwrap_or_default();
    last.to_owned()
}

fn number(bytes: &[u8], line: &mut usize) -> Vec<u8> {
    let mut all = Vec::new();
    for each in bytes.split_inclusive(|byte| *byte == b'\n') {
        *line += 1;
        all.extend_from_slice(format!("{line:6}\t").as_bytes());
        all.extend_from_slice(each);
    }
    all
}
