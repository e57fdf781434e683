//! The definitions as they are written in the data file.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::servers::Servers;

/// Made by `definitions/generate.py`; `definitions/README.md` describes the format.
const TEXT: &str = include_str!("../../definitions/bodies.txt");

pub(super) static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::read(TEXT));

/// One device: a map of text.
pub(super) static DEVICE: LazyLock<Shape> = LazyLock::new(|| Shape::Map(Box::new(Shape::Text)));

/// Types of devices that have several sorts, and the key that says which.
const SORTS: [(&str, &str); 2] = [("nic", "nictype"), ("gpu", "gputype")];

#[derive(Debug)]
pub(super) struct Definitions {
    requests: Vec<Request>,
    types: Vec<Type>,
    kinds: Vec<Kind>,
}

/// Which types a request takes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) methods: &'static str,
    pub(super) path: &'static str,
    pub(super) types: Vec<&'static str>,
}

/// A map with known keys.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) name: &'static str,
    fields: Vec<Field>,
    /// Keys that only replies have.
    pub(super) shown: Vec<&'static str>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) shape: Shape,
    pub(super) servers: Servers,
}

/// What a value has to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Any,
    Text,
    /// One of a few words, separated by `|`.
    Words(&'static str),
    Boolean,
    Integer,
    Number,
    List(Box<Shape>),
    /// With keys of the author's choice.
    Map(Box<Shape>),
    Type(&'static str),
    /// The configuration of a kind of thing.
    Config(&'static str),
    Devices,
}

/// Things that have a configuration, or devices.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// The key beside `config` that says which variant it is.
    pub(super) chosen_by: Option<&'static str>,
    variants: Vec<(&'static str, Servers)>,
    pub(super) keys: Vec<Key>,
}

#[derive(Debug)]
pub(super) struct Key {
    /// With `*` for what an author chooses.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Those that have it, separated by `,`, or `*`.
    variants: &'static str,
    /// Nothing: all that have the variant.
    servers: Option<Servers>,
}

impl Definitions {
    fn read(text: &'static str) -> Self {
        let mut all = Self {
            requests: Vec::with_capacity(128),
            types: Vec::with_capacity(128),
            kinds: Vec::with_capacity(32),
        };
        let mut is_kind = false;
        for line in text.lines() {
            let (sign, rest) = line.split_at_checked(2).unwrap_or_default();
            match sign {
                "# " => {}
                "> " => all.request(rest),
                "@ " => {
                    is_kind = false;
                    all.types.push(Type {
                        name: rest,
                        fields: Vec::new(),
                        shown: Vec::new(),
                    });
                }
                "$ " => {
                    is_kind = true;
                    all.kinds.push(Kind {
                        name: rest,
                        chosen_by: match rest {
                            "network" => Some("type"),
                            "storage-pool" => Some("driver"),
                            _ => None,
                        },
                        variants: Vec::new(),
                        keys: Vec::new(),
                    });
                }
                _ if is_kind => {
                    if let Some(kind) = all.kinds.last_mut() {
                        kind.line(line);
                    }
                }
                _ => {
                    if let Some(last) = all.types.last_mut() {
                        last.line(line);
                    }
                }
            }
        }
        all
    }

    fn request(&mut self, line: &'static str) {
        let mut columns = line.split(' ');
        self.requests.push(Request {
            methods: columns.next().unwrap_or_default(),
            path: columns.next().unwrap_or_default().trim_start_matches('/'),
            types: columns.collect(),
        });
    }

    pub(super) fn types_of(&self, method: &str, path: &str) -> impl Iterator<Item = &Type> {
        self.requests
            .iter()
            .filter(move |request| {
                request.path == path && request.methods.split(',').any(|known| known == method)
            })
            .flat_map(|request| &request.types)
            .filter_map(|name| self.type_named(name))
    }

    pub(super) fn types(&self) -> &[Type] {
        &self.types
    }

    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter()
    }

    pub(super) fn type_named(&self, name: &str) -> Option<&Type> {
        self.types.iter().find(|kind| kind.name == name)
    }

    pub(super) fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }
}

impl Type {
    fn line(&mut self, line: &'static str) {
        let mut columns = line.split(' ').skip(1);
        let mut next = || columns.next().unwrap_or_default();
        let (key, shape) = (next(), next());
        if key == "-" {
            self.shown.push(shape);
            self.shown.extend(columns);
            return;
        }
        let servers = match (next(), next()) {
            ("", _) => Servers::ALL,
            (lxd, incus) => Servers::read(lxd, incus),
        };
        self.fields.push(Field {
            key,
            shape: Shape::read(shape),
            servers,
        });
    }

    /// The fields of a key. Servers do not tell capitals from small letters in keys of bodies.
    pub(super) fn fields_named<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Field> {
        self.fields
            .iter()
            .filter(move |field| field.key.eq_ignore_ascii_case(key))
    }

    pub(super) fn shapes<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Shape> {
        self.fields_named(key).map(|field| &field.shape)
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn keys(&self, servers: Servers) -> impl Iterator<Item = &'static str> {
        self.fields
            .iter()
            .filter(move |field| !field.servers.and(servers).is_empty())
            .map(|field| field.key)
    }
}

impl Shape {
    fn read(word: &'static str) -> Self {
        let inner = || word.get(1..word.len() - 1).unwrap_or_default();
        match word {
            "s" | "t" => Self::Text,
            "b" => Self::Boolean,
            "i" => Self::Integer,
            "n" => Self::Number,
            "devices" => Self::Devices,
            _ if word.starts_with('[') => Self::List(Box::new(Self::read(inner()))),
            _ if word.starts_with('{') => Self::Map(Box::new(Self::read(inner()))),
            _ => match word.split_at_checked(1) {
                Some(("@", name)) => Self::Type(name),
                _ => match (word.strip_prefix("s="), word.strip_prefix("config:")) {
                    (Some(words), _) => Self::Words(words),
                    (_, Some(kind)) => Self::Config(kind),
                    _ => Self::Any,
                },
            },
        }
    }

    /// Whether a value is of the type, without a look into it. Numbers and booleans are taken for text.
    pub(super) fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Text | Self::Words(_) => !value.is_array() && !value.is_object(),
            Self::Boolean => value.is_boolean(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::List(_) => value.is_array(),
            Self::Map(_) | Self::Type(_) | Self::Config(_) | Self::Devices => value.is_object(),
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Words(_))
    }

    pub(super) fn item(&self) -> Option<&Shape> {
        match self {
            Self::List(item) | Self::Map(item) => Some(item),
            _ => None,
        }
    }

    pub(super) fn words(&self) -> impl Iterator<Item = &'static str> {
        let words = match self {
            Self::Words(words) => *words,
            _ => "",
        };
        words.split('|').filter(|word| !word.is_empty())
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Text | Self::Words(_) => "text",
            Self::Boolean => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Type(_) | Self::Config(_) | Self::Devices => "a mapping",
        }
    }
}

impl Kind {
    fn line(&mut self, line: &'static str) {
        let mut columns = line.split(' ').skip(1);
        let mut next = || columns.next().unwrap_or_default();
        let (name, shape) = (next(), next());
        if name == "=" {
            self.variants.push((shape, Servers::read(next(), next())));
            return;
        }
        let variants = if self.variants.is_empty() {
            "*"
        } else {
            next()
        };
        let servers = match (next(), next()) {
            ("", _) => None,
            (lxd, incus) => Some(Servers::read(lxd, incus)),
        };
        self.keys.push(Key {
            name,
            shape: Shape::read(shape),
            variants,
            servers,
        });
    }

    pub(super) fn has_variant(&self, name: &str) -> bool {
        self.variants.iter().any(|(variant, _)| *variant == name)
    }

    /// The variant of a name, or all of them where it is not known.
    pub(super) fn variants_named(&self, name: Option<&str>) -> Vec<&'static str> {
        let own = name.filter(|name| self.has_variant(name));
        self.variants
            .iter()
            .map(|(variant, _)| *variant)
            .filter(|variant| own.is_none_or(|name| name == *variant))
            .collect()
    }

    /// The variants that a device can be, by its type and sort; nothing where the type is not known.
    pub(super) fn variants_of_device(
        &self,
        device: &Map<String, Value>,
    ) -> Option<Vec<&'static str>> {
        let word = |key: &str| {
            let word = device.get(key).and_then(Value::as_str);
            word.filter(|word| !word.is_empty())
        };
        let Some(device_type) = word("type") else {
            return Some(self.variants_named(None));
        };
        let Some((_, key)) = SORTS.iter().find(|(name, _)| *name == device_type) else {
            return self
                .has_variant(device_type)
                .then(|| self.variants_named(Some(device_type)));
        };
        let own = word(key).map(|sort| format!("{device_type}-{sort}"));
        let own = own.filter(|own| self.has_variant(own));
        Some(
            self.variants_named(own.as_deref())
                .into_iter()
                .filter(|variant| is_sort_of(variant, device_type))
                .collect(),
        )
    }

    /// The variants that have a key as written, on any server.
    pub(super) fn variants_with(&self, written: &str) -> Vec<&'static str> {
        let fitting: Vec<&Key> = self
            .keys
            .iter()
            .filter(|key| key.matches(written))
            .collect();
        self.variants
            .iter()
            .map(|(variant, _)| *variant)
            .filter(|variant| fitting.iter().any(|key| key.is_of(variant)))
            .collect()
    }

    /// The words that `type` of a device can be.
    pub(super) fn device_types(&self) -> Vec<&'static str> {
        let mut types: Vec<&str> = self
            .variants
            .iter()
            .map(|(variant, _)| {
                SORTS
                    .iter()
                    .find(|(name, _)| is_sort_of(variant, name))
                    .map_or(*variant, |(name, _)| name)
            })
            .collect();
        types.dedup();
        types
    }

    /// The servers on which any of some variants has a key.
    pub(super) fn servers_of(&self, key: &Key, variants: &[&str]) -> Servers {
        if self.variants.is_empty() {
            return key.servers.unwrap_or(Servers::ALL);
        }
        self.variants
            .iter()
            .filter(|(variant, _)| variants.contains(variant) && key.is_of(variant))
            .fold(Servers::NONE, |all, (_, servers)| {
                all.or(key.servers.unwrap_or(*servers))
            })
    }
}

fn is_sort_of(variant: &str, device_type: &str) -> bool {
    variant
        .strip_prefix(device_type)
        .is_some_and(|rest| rest.starts_with('-'))
}

impl Key {
    fn is_of(&self, variant: &str) -> bool {
        self.variants == "*" || self.variants.split(',').any(|own| own == variant)
    }

    /// Whether a key as written is this one. `*` stands for something, dots included; at the end for nothing as well.
    pub(super) fn matches(&self, written: &str) -> bool {
        let mut parts = self.name.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = written.strip_prefix(first) else {
            return false;
        };
        let mut is_pattern = false;
        for part in parts {
            is_pattern = true;
            if part.is_empty() {
                return true;
            }
            match rest.get(1..).and_then(|tail| tail.find(part)) {
                Some(at) => rest = &rest[1 + at + part.len()..],
                None => return false,
            }
        }
        rest.is_empty() || (is_pattern && self.name.ends_with('*'))
    }
}
