//! Replaces the client's authentication and its validation of replies:
//! `cargo run -p malleus-client --example own_rules`.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::sync::Arc;

use malleus_client::{
    ApiErrors, Authentication, Client, Error, Remote, Reply, Request, Settings, Validation,
};

/// Sends a bearer token with every request. Over a unix socket the server ignores it.
struct Bearer(String);

impl Authentication for Bearer {
    fn headers(&self, _method: &str, _path: &str) -> Result<Vec<(String, String)>, Error> {
        Ok(vec![(
            "Authorization".to_owned(),
            format!("Bearer {}", self.0),
        )])
    }
}

/// Refuses what the default refuses, and empty lists besides.
struct SomethingThere;

impl Validation for SomethingThere {
    fn validate(&self, reply: &Reply) -> Result<(), Error> {
        ApiErrors.validate(reply)?;
        if reply.metadata().as_array().is_some_and(Vec::is_empty) {
            return Err(Error::Invalid {
                method: reply.method.clone(),
                path: reply.path.clone(),
                reason: "the list is empty".to_owned(),
            });
        }
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let remote = Remote::discover(&|name| std::env::var(name).ok())?;
    let settings = Settings {
        authentication: Arc::new(Bearer("secret".to_owned())),
        validation: Arc::new(SomethingThere),
        ..Settings::default()
    };
    let client = Client::connect_with(&remote, settings)?;

    let profiles = client.request(&Request::get("profiles"))?;
    println!("profiles: {}", profiles.metadata());

    let missing = Request::get("instances/there-is-no-such-instance");
    if let Err(error) = client.request(&missing) {
        println!("validated: {error}");
    }
    let reply = client.request(&missing.skip_validation())?;
    println!("taken as it is: status {}", reply.status);
    Ok(())
}
