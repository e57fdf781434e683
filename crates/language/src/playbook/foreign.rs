//! Words that people bring along from other tools, and what is written here.

use super::grammar::{EXEC, EXPECT, INPUT, PLAYBOOK, PUSH, STEP, Shape, WAIT_FOR};

/// Words of other tools that mean the same.
struct Foreign {
    /// Where they stand.
    shape: &'static Shape,
    words: &'static [&'static str],
    /// What to write.
    cure: &'static str,
}

const fn of(shape: &'static Shape, words: &'static [&'static str], cure: &'static str) -> Foreign {
    Foreign { shape, words, cure }
}

const TABLE: &[Foreign] = &[
    of(
        &STEP,
        &["register", "save_as", "store", "output"],
        "give the step an `id`: its result is bound to that name; `capture` binds parts of it",
    ),
    of(
        &STEP,
        &[
            "with_items",
            "with_list",
            "with_dict",
            "loop",
            "foreach",
            "for",
            "matrix",
            "strategy",
        ],
        "write `for_each: [a, b]`, or `for_each` with an expression; each item is `item`",
    ),
    of(
        &STEP,
        &["retries", "attempts", "retry_count"],
        "write `retry: {attempts: 3, delay: 2s}` to repeat a failing step, or `until` with `within` and `every` to wait for a condition",
    ),
    of(
        &STEP,
        &["delay", "interval", "poll"],
        "`until` has `every`, and `retry` has `delay`: `retry: {attempts: 3, delay: 2s}`",
    ),
    of(
        &STEP,
        &[
            "ignore_errors",
            "continue-on-error",
            "continue_on_error",
            "allow_failure",
            "failed_when_false",
        ],
        "write `on_error: continue`",
    ),
    of(
        &STEP,
        &["failed_when"],
        "write what must hold: `expect: {that: exit_code == 0}`",
    ),
    of(
        &STEP,
        &["changed_when", "check_mode"],
        "there is no such key; `changed` of a step's result says whether it changed anything",
    ),
    of(
        &STEP,
        &["if", "condition", "only_if", "unless", "skip", "skip_if"],
        "write `when: EXPRESSION`, without braces",
    ),
    of(
        &STEP,
        &[
            "run", "shell", "command", "script", "cmd", "sh", "bash", "raw",
        ],
        "write `exec: {instance: NAME, shell: \"…\"}`: commands run in an instance",
    ),
    of(
        &STEP,
        &["env", "environment"],
        "`exec` has `environment`: `exec: {instance: NAME, environment: {A: b}, shell: \"…\"}`",
    ),
    of(
        &STEP,
        &[
            "uses",
            "import_tasks",
            "include_tasks",
            "import_playbook",
            "import",
            "include_role",
            "role",
        ],
        "write `include: PATH` with `with: {…}` for another playbook",
    ),
    of(
        &STEP,
        &["sleep", "pause", "wait", "wait_for_connection"],
        "wait for what is needed: `wait_for: {instance: NAME, ready: running}`, or `until` with a condition",
    ),
    of(
        &STEP,
        &[
            "assert", "asserts", "verify", "test", "validate", "expects", "should",
        ],
        "write `expect: {that: EXPRESSION}` for the step's result, or `check: EXPRESSION` as a step of its own",
    ),
    of(
        &STEP,
        &["debug", "print", "echo", "msg", "log"],
        "give the step a `name` with the value, as `name: \"address {{ ip }}\"`, or name it under `outputs`",
    ),
    of(
        &STEP,
        &["become", "become_user", "sudo", "user"],
        "`exec` has `user` with a number: `exec: {instance: NAME, user: 1000, shell: \"…\"}`",
    ),
    of(
        &STEP,
        &["depends_on", "needs", "requires", "after"],
        "steps run in the order in which they are written; `parallel` runs some side by side",
    ),
    of(
        &STEP,
        &["captures", "extract", "set_fact", "vars"],
        "`capture` binds parts of the result, `set` binds other values",
    ),
    of(
        &STEP,
        &[
            "url", "uri", "method", "http", "get", "post", "put", "patch", "delete", "GET", "POST",
            "PUT", "PATCH", "DELETE",
        ],
        "write `request: METHOD path`, such as `request: GET instances`",
    ),
    of(
        &STEP,
        &["json", "data", "payload", "params"],
        "the JSON body is `body`, query parameters are `query`",
    ),
    of(
        &STEP,
        &[
            "timeout-minutes",
            "timeout_minutes",
            "timeout_seconds",
            "async",
        ],
        "write `timeout: 5m`",
    ),
    of(
        &STEP,
        &[
            "always",
            "ensure_finally",
            "rescue",
            "teardown",
            "after_script",
        ],
        "`cleanup` of a step, or `finally` of a group or of the playbook, is done in any case",
    ),
    of(
        &STEP,
        &["block", "tasks", "group", "sequence"],
        "write `steps:` with a list of steps",
    ),
    of(
        &STEP,
        &["copy", "template", "file", "upload_file"],
        "write `push: {instance: NAME, path: /a, source: FILE}`, or `content` for text",
    ),
    of(
        &STEP,
        &["fetch", "download"],
        "write `pull: {instance: NAME, path: /a, to: FILE}`",
    ),
    of(
        &STEP,
        &["title", "description", "label"],
        "the title of a step is its `name`",
    ),
    of(
        &STEP,
        &[
            "tags",
            "on",
            "hosts",
            "delegate_to",
            "run_once",
            "notify",
            "handlers",
            "listen",
        ],
        "there is no such key; `when` chooses by a condition, `remote` by server",
    ),
    of(
        &PLAYBOOK,
        &[
            "tasks",
            "jobs",
            "job",
            "plays",
            "stages",
            "script",
            "tests",
            "entries",
            "test",
            "main",
            "before_script",
            "pre_tasks",
        ],
        "write `steps:` with a list of steps",
    ),
    of(
        &PLAYBOOK,
        &[
            "vars_prompt",
            "variables",
            "params",
            "parameters",
            "args",
            "variable",
        ],
        "write `inputs:` for what a caller may set, `vars:` for derived values",
    ),
    of(
        &PLAYBOOK,
        &["env", "environment"],
        "an input reads a variable: `inputs: {token: {env: MY_TOKEN}}`",
    ),
    of(
        &PLAYBOOK,
        &["hosts", "host", "server", "url", "base_url", "connection"],
        "write `remote: NAME`, or give `--remote`",
    ),
    of(
        &PLAYBOOK,
        &[
            "services",
            "containers",
            "instances",
            "resources",
            "resource",
            "networks",
            "volumes",
        ],
        "each resource is a step: `- ensure: instances/web` with a `body`",
    ),
    of(
        &PLAYBOOK,
        &["version", "apiVersion", "kind"],
        "a playbook begins with `playbook: 1`",
    ),
    of(
        &PLAYBOOK,
        &["description", "title", "test_name"],
        "write `summary:` for what it does, `name:` for its name",
    ),
    of(
        &PLAYBOOK,
        &[
            "teardown",
            "after",
            "always",
            "post_tasks",
            "after_script",
            "cleanup",
        ],
        "write `finally:` with a list of steps",
    ),
    of(
        &PLAYBOOK,
        &[
            "setup", "before", "defaults", "includes", "include", "roles",
        ],
        "write a step with `include: PATH`",
    ),
    of(
        &PLAYBOOK,
        &["on", "trigger", "triggers", "schedule"],
        "a playbook runs when it is called: `malleus run FILE`",
    ),
    of(
        &PLAYBOOK,
        &["matrix", "strategy"],
        "write a step with `for_each`",
    ),
    of(
        &EXEC,
        &["env", "environ", "envs"],
        "write `environment: {A: b}`",
    ),
    of(
        &EXEC,
        &["container", "host", "name", "target", "vm"],
        "write `instance: NAME`",
    ),
    of(
        &EXEC,
        &[
            "chdir",
            "workdir",
            "working-directory",
            "working_dir",
            "dir",
        ],
        "write `cwd: /path`",
    ),
    of(
        &EXEC,
        &["cmd", "argv", "args", "run", "line"],
        "write `command: [program, argument]`, or `shell: \"a line\"`",
    ),
    of(
        &EXEC,
        &["script"],
        "write `shell: |` with the lines below it",
    ),
    of(&EXEC, &["input"], "write `stdin: text`"),
    of(
        &EXEC,
        &["interactive", "tty", "terminal"],
        "there is no terminal; give the answers as `stdin`, or the option of the command that asks nothing",
    ),
    of(
        &EXPECT,
        &["status_code", "code", "http_status"],
        "write `status: 200`, for a command `exit_code: 0`",
    ),
    of(
        &EXPECT,
        &["rc", "exit", "exit_status", "returncode"],
        "write `exit_code: 0`",
    ),
    of(
        &EXPECT,
        &["out", "output", "text"],
        "write `stdout: {contains: text}`",
    ),
    of(&EXPECT, &["err"], "write `stderr: {contains: text}`"),
    of(
        &EXPECT,
        &["body", "json", "jsonpath", "data", "response"],
        "write `metadata: {…}` for a part of what the API answers",
    ),
    of(
        &EXPECT,
        &["assert", "asserts", "condition", "expression", "check"],
        "write `that: EXPRESSION`",
    ),
    of(
        &EXPECT,
        &["failure", "fails", "message"],
        "write `error: text` for a part of the error's text",
    ),
    of(&PUSH, &["src"], "write `source: FILE`"),
    of(
        &PUSH,
        &["dest", "destination", "target", "to"],
        "write `path: /in/the/instance`",
    ),
    of(
        &PUSH,
        &["file"],
        "write `source: FILE` for a file beside the playbook, `path` for its place in the instance",
    ),
    of(&PUSH, &["text", "data"], "write `content: text`"),
    of(&PUSH, &["owner", "user"], "write `uid: NUMBER`"),
    of(&PUSH, &["group"], "write `gid: NUMBER`"),
    of(
        &PUSH,
        &["permissions", "perm", "chmod"],
        "write `mode: \"0644\"`",
    ),
    of(
        &WAIT_FOR,
        &["port", "tcp", "exec", "file", "state", "status", "for"],
        "conditions stand under `ready`: `ready: [running, {tcp: 80}]`",
    ),
    of(&WAIT_FOR, &["timeout", "limit"], "write `within: 30s`"),
    of(&INPUT, &["value"], "write `default: VALUE`"),
    of(
        &INPUT,
        &["sensitive", "no_log", "private"],
        "write `secret: true`",
    ),
    of(
        &INPUT,
        &["optional", "nullable"],
        "an input without `required: true` is optional",
    ),
    of(
        &INPUT,
        &["doc", "help", "summary", "prompt"],
        "write `description: text`",
    ),
];

/// What to write in the place of a word of another tool.
pub(super) fn cure(word: &str, shape: &Shape) -> Option<&'static str> {
    TABLE
        .iter()
        .find(|foreign| foreign.shape.what == shape.what && foreign.words.contains(&word))
        .map(|foreign| foreign.cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_a_key_of_the_language_there() {
        for foreign in TABLE {
            for word in foreign.words {
                assert!(
                    foreign.shape.keys.iter().all(|key| key.name != *word),
                    "{word} in {}",
                    foreign.shape.what
                );
            }
        }
    }
}
