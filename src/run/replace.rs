//! What only a new instance can have: another image, another type.

use malleus_api::ApiPath;
use malleus_api::compare::{Difference, Step};
use serde_json::Value;

use super::action::{ActionResult, Attempt, Change};
use super::ensure::{Wanted, as_json};
use super::shown::shown;
use crate::client::Error;
use crate::playbook::plan::Replacement;
use crate::resources::named_image;

/// What an instance is made from, against what it should be made from.
enum Image {
    /// The same.
    Same,
    /// The alias that was asked for leads to a newer one by now.
    Outdated(String),
    /// Another one.
    Another,
    /// The server does not say where the instance's image came from.
    Unknown,
}

impl Attempt<'_, '_> {
    /// What of the differences only a new instance can mend, and a note where there are none.
    pub(super) fn fixed_differences(
        &self,
        wanted: &Wanted,
        live: &Value,
        all: &[Difference],
    ) -> Result<(Vec<Value>, String), Error> {
        let is_type = |one: &&Difference| one.place() == "type";
        let mut fixed: Vec<Value> = all.iter().filter(is_type).map(as_json).collect();
        let mut note = String::new();
        if let Some(image) = named_image(&wanted.body) {
            let base = &live["config"]["volatile.base_image"];
            match self.compare_image(wanted, &image, base)? {
                Image::Same => {}
                Image::Outdated(build) => note = format!(", newer build {build} there"),
                Image::Unknown => note = ", its image cannot be compared".into(),
                Image::Another => fixed.push(as_json(&Difference {
                    path: vec![Step::Key("source".into())],
                    from: base.clone(),
                    to: image,
                })),
            }
        }
        Ok((fixed, note))
    }

    fn compare_image(&self, wanted: &Wanted, image: &Value, base: &Value) -> Result<Image, Error> {
        let base = base.as_str().unwrap_or_default();
        let removal = wanted.request("DELETE", &wanted.path, self);
        let own = self.run.session.tracker.own(&self.frame.client, &removal)?;
        let is_as_it_was = own.and_then(|own| own.image).as_ref() == Some(image);
        let text = |key: &str| image[key].as_str().filter(|text| !text.is_empty());
        let now = match (text("fingerprint"), text("alias"), text("server")) {
            (Some(fingerprint), ..) => Some(fingerprint.to_owned()),
            (None, Some(alias), None) => self.target_of(wanted, alias)?,
            (None, Some(alias), Some(server)) => {
                let seen = self.look(wanted, &["images", base])?;
                let source = &seen["update_source"];
                if source["server"] == server && source["alias"] == alias {
                    Some(base.to_owned())
                } else if is_as_it_was {
                    None
                } else if source.is_object() {
                    return Ok(Image::Another);
                } else {
                    return Ok(Image::Unknown);
                }
            }
            (None, None, _) if is_as_it_was => None,
            (None, None, _) => return Ok(Image::Unknown),
        };
        Ok(match now {
            Some(now) if !base.is_empty() && base.starts_with(&now) => Image::Same,
            Some(now) if is_as_it_was && text("fingerprint").is_none() => {
                Image::Outdated(self.build_of(wanted, &now)?)
            }
            None if is_as_it_was => Image::Same,
            _ => Image::Another,
        })
    }

    /// The fingerprint that an alias leads to.
    fn target_of(&self, wanted: &Wanted, alias: &str) -> Result<Option<String>, Error> {
        let seen = self.look(wanted, &["images", "aliases", alias])?;
        Ok(seen["target"].as_str().map(str::to_owned))
    }

    /// The serial number of an image; its fingerprint where it has none.
    fn build_of(&self, wanted: &Wanted, fingerprint: &str) -> Result<String, Error> {
        let seen = self.look(wanted, &["images", fingerprint])?;
        let serial = seen["properties"]["serial"].as_str();
        Ok(serial.unwrap_or(fingerprint).to_owned())
    }

    /// What a path holds; null where there is nothing.
    fn look(&self, wanted: &Wanted, path: &[&str]) -> Result<Value, Error> {
        let path = ApiPath::of(path.iter().copied()).to_string();
        let seen = self.exchange(&wanted.request("GET", &path, self))?;
        Ok(if seen.error.is_none() {
            seen.metadata
        } else {
            Value::Null
        })
    }

    /// Deletes an instance and creates it anew, where the playbook says so and the run or the environment has made it.
    pub(super) fn replace(
        &self,
        wanted: &Wanted,
        fixed: Vec<Value>,
        live: ActionResult,
    ) -> Result<ActionResult, Error> {
        let removal = wanted.request("DELETE", &wanted.path, self);
        let session = self.run.session;
        let own = session.tracker.own(&self.frame.client, &removal)?;
        let is_own = own.map(|own| own.is_at(&session.id, &live.metadata));
        let hindrance = match (wanted.replace, is_own) {
            (Replacement::Allowed, Some(true)) => None,
            (Replacement::Allowed, Some(false)) => Some(
                "nothing shows that it is the one that this run made, so `replace: true` leaves it alone",
            ),
            (Replacement::Allowed, None) => {
                Some("this run has not made it, so `replace: true` leaves it alone")
            }
            (Replacement::Never, _) => Some(
                "`ensure` with `replace: true` deletes it, with its snapshots and its root disk, and creates it anew",
            ),
        };
        let mut change = Change::none();
        if let Some(hindrance) = hindrance {
            let masker = self.run.masker;
            let told: Vec<String> = fixed
                .iter()
                .map(|one| {
                    let place = one["path"].as_str().unwrap_or_default();
                    let (is, should) = (shown(masker, &one["from"]), shown(masker, &one["to"]));
                    format!("{place} is {is}, not {should}")
                })
                .collect();
            change.difference = fixed;
            return Ok(ActionResult {
                error: Some(format!(
                    "this needs a new instance: {}; {hindrance}",
                    told.join(", ")
                )),
                change: Some(change),
                ..live
            });
        }
        let gone = self.remove(&wanted.path, &wanted.query)?;
        if gone.error.is_some() {
            return Ok(gone);
        }
        change.difference = fixed;
        change.outcome = "removed";
        let mut made = self.create(wanted)?;
        if made.error.is_some() {
            made.change = Some(change);
            return Ok(made);
        }
        change.outcome = "replaced";
        self.finish_ensure(wanted, change, None)
    }
}
