//! What the REST APIs of LXD and Incus are, without I/O: used by the client, the language and the runner.
