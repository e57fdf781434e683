//! Which names a template uses, and where: what the static check needs. The only file that walks minijinja's
//! syntax tree, an interface without promises; hence one file and a pinned version.

use std::ops::Range;

use minijinja::machinery::{self, Span, ast};
use minijinja::value::ValueKind;

use super::{engine, filters, strict};

/// One use of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameUse {
    /// The name.
    pub name: String,
    /// Attributes read from it by constant names: `a.b["c"]` gives `b`, `c`.
    pub attributes: Vec<String>,
    /// Bytes of the whole chain in the text.
    pub range: Range<usize>,
    /// Bytes of the name alone.
    pub name_range: Range<usize>,
    /// Whether the template copes with the name or attribute being undefined (`is defined`, `default`).
    pub guarded: bool,
}

/// What a template or expression uses.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Names that the template does not define itself, in order.
    pub names: Vec<NameUse>,
    /// Filters with the bytes of their use.
    pub filters: Vec<(String, Range<usize>)>,
    /// Tests with the bytes of their use.
    pub tests: Vec<(String, Range<usize>)>,
    /// Comparisons of values that are both written out and cannot be compared: why, and the bytes.
    pub mixed: Vec<(String, Range<usize>)>,
    /// Comparisons of a plain name with a value that is written out.
    pub compared: Vec<Compared>,
    /// Functions that there are not, with the bytes of their use.
    pub functions: Vec<(String, Range<usize>)>,
}

/// A plain name that is compared with a value that is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The name.
    pub name: String,
    /// Whether the value is text; a number or a boolean otherwise.
    pub with_text: bool,
    /// The value as it is written in JSON.
    pub value: String,
    /// Bytes of the name.
    pub range: Range<usize>,
}

impl Usage {
    /// What an expression uses; nothing where it does not parse.
    pub fn of_expression(code: &str) -> Self {
        let mut walker = Walker::default();
        if let Ok(expr) = machinery::parse_expr(code) {
            walker.expr(&expr);
        }
        walker.usage
    }

    /// What a text with templates uses; nothing where it does not parse.
    pub fn of_text(code: &str) -> Self {
        let mut walker = Walker::default();
        if let Ok(ast::Stmt::Template(template)) =
            machinery::parse(code, "template", engine::syntax())
        {
            walker.block(&template.children);
        }
        walker.usage
    }
}

/// The filters and tests that messages may suggest.
pub fn filter_names() -> (&'static [&'static str], &'static [&'static str]) {
    (filters::FILTERS, filters::TESTS)
}

/// Functions that minijinja brings along.
pub const FUNCTIONS: &[&str] = &["range", "dict", "debug"];

#[derive(Default)]
struct Walker {
    usage: Usage,
    /// Names bound by the template itself, innermost last.
    bound: Vec<String>,
    guarded: usize,
}

fn bytes(span: Span) -> Range<usize> {
    span.start_offset as usize..span.end_offset as usize
}

/// The comparison that an operator is, if it is one.
fn comparing(operator: ast::BinOpKind) -> Option<ast::CompareOpKind> {
    Some(match operator {
        ast::BinOpKind::Eq => ast::CompareOpKind::Eq,
        ast::BinOpKind::Ne => ast::CompareOpKind::Ne,
        ast::BinOpKind::Lt => ast::CompareOpKind::Lt,
        ast::BinOpKind::Lte => ast::CompareOpKind::Lte,
        ast::BinOpKind::Gt => ast::CompareOpKind::Gt,
        ast::BinOpKind::Gte => ast::CompareOpKind::Gte,
        _ => return None,
    })
}

impl Walker {
    fn block(&mut self, statements: &[ast::Stmt<'_>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    /// A block whose own names end with it.
    fn inner_block(&mut self, statements: &[ast::Stmt<'_>]) {
        let depth = self.bound.len();
        self.block(statements);
        self.bound.truncate(depth);
    }

    fn statement(&mut self, statement: &ast::Stmt<'_>) {
        match statement {
            ast::Stmt::Template(inner) => self.block(&inner.children),
            ast::Stmt::EmitExpr(inner) => self.expr(&inner.expr),
            ast::Stmt::EmitRaw(_) => {}
            ast::Stmt::ForLoop(inner) => {
                self.expr(&inner.iter);
                let depth = self.bound.len();
                self.bind(&inner.target);
                self.bound.push("loop".into());
                if let Some(filter) = &inner.filter_expr {
                    self.expr(filter);
                }
                self.block(&inner.body);
                self.bound.truncate(depth);
                self.inner_block(&inner.else_body);
            }
            ast::Stmt::IfCond(inner) => {
                self.expr(&inner.expr);
                self.block(&inner.true_body);
                self.block(&inner.false_body);
            }
            ast::Stmt::WithBlock(inner) => {
                let depth = self.bound.len();
                for (target, value) in &inner.assignments {
                    self.expr(value);
                    self.bind(target);
                }
                self.block(&inner.body);
                self.bound.truncate(depth);
            }
            ast::Stmt::Set(inner) => {
                self.expr(&inner.expr);
                self.bind(&inner.target);
            }
            ast::Stmt::SetBlock(inner) => {
                self.inner_block(&inner.body);
                self.bind(&inner.target);
            }
            ast::Stmt::AutoEscape(inner) => self.block(&inner.body),
            ast::Stmt::FilterBlock(inner) => self.block(&inner.body),
            ast::Stmt::Macro(inner) => self.macro_body(inner),
            ast::Stmt::CallBlock(inner) => {
                self.call(&inner.call);
                self.macro_body(&inner.macro_decl);
            }
            ast::Stmt::Do(inner) => self.call(&inner.call),
        }
    }

    fn macro_body(&mut self, inner: &ast::Macro<'_>) {
        self.bound.push(inner.name.to_owned());
        let depth = self.bound.len();
        self.exprs(&inner.defaults);
        for argument in &inner.args {
            self.bind(argument);
        }
        self.bound.push("caller".into());
        self.block(&inner.body);
        self.bound.truncate(depth);
    }

    fn bind(&mut self, target: &ast::Expr<'_>) {
        match target {
            ast::Expr::Var(var) => self.bound.push(var.id.to_owned()),
            ast::Expr::List(list) => list.items.iter().for_each(|item| self.bind(item)),
            ast::Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.bind(item)),
            _ => {}
        }
    }

    fn exprs(&mut self, exprs: &[ast::Expr<'_>]) {
        for expr in exprs {
            self.expr(expr);
        }
    }

    fn expr(&mut self, expr: &ast::Expr<'_>) {
        match expr {
            ast::Expr::Var(_) | ast::Expr::GetAttr(_) | ast::Expr::GetItem(_) => self.chain(expr),
            ast::Expr::Const(_) => {}
            ast::Expr::Slice(inner) => {
                self.expr(&inner.expr);
                for part in [&inner.start, &inner.stop, &inner.step]
                    .into_iter()
                    .flatten()
                {
                    self.expr(part);
                }
            }
            ast::Expr::UnaryOp(inner) => self.expr(&inner.expr),
            ast::Expr::BinOp(inner) => {
                self.expr(&inner.left);
                self.expr(&inner.right);
                if let Some(operator) = comparing(inner.op) {
                    self.comparison(&inner.left, operator, &inner.right);
                }
            }
            ast::Expr::Compare(inner) => {
                self.expr(&inner.expr);
                let mut left = &inner.expr;
                for operand in &inner.ops {
                    self.expr(&operand.expr);
                    self.comparison(left, operand.op, &operand.expr);
                    left = &operand.expr;
                }
            }
            ast::Expr::IfExpr(inner) => {
                self.expr(&inner.test_expr);
                self.expr(&inner.true_expr);
                if let Some(other) = &inner.false_expr {
                    self.expr(other);
                }
            }
            ast::Expr::Filter(inner) => {
                self.usage
                    .filters
                    .push((inner.name.to_owned(), bytes(expr.span())));
                let copes = matches!(inner.name, "default" | "d");
                self.guard(copes, |walker| {
                    inner.expr.iter().for_each(|value| walker.expr(value));
                });
                self.arguments(&inner.args);
            }
            ast::Expr::Test(inner) => {
                self.usage
                    .tests
                    .push((inner.name.to_owned(), bytes(expr.span())));
                let copes = matches!(inner.name, "defined" | "undefined");
                self.guard(copes, |walker| walker.expr(&inner.expr));
                self.arguments(&inner.args);
            }
            ast::Expr::Call(inner) => self.call(inner),
            ast::Expr::List(inner) => self.exprs(&inner.items),
            ast::Expr::Tuple(inner) => self.exprs(&inner.items),
            ast::Expr::Map(inner) => {
                self.exprs(&inner.keys);
                self.exprs(&inner.values);
            }
        }
    }

    fn comparison(
        &mut self,
        left: &ast::Expr<'_>,
        operator: ast::CompareOpKind,
        right: &ast::Expr<'_>,
    ) {
        let (name, value) = match (left, left.as_const(), right, right.as_const()) {
            (_, Some(one), _, Some(other)) => {
                if let Some(why) = strict::constants(operator, &one, &other) {
                    let range = bytes(left.span()).start..bytes(right.span()).end;
                    self.usage.mixed.push((why, range));
                }
                return;
            }
            (ast::Expr::Var(var), _, _, Some(value)) | (_, Some(value), ast::Expr::Var(var), _) => {
                (var, value)
            }
            _ => return,
        };
        let is_order_or_equality =
            !matches!(operator, ast::CompareOpKind::In | ast::CompareOpKind::NotIn);
        let is_scalar = matches!(
            value.kind(),
            ValueKind::String | ValueKind::Number | ValueKind::Bool
        );
        if is_order_or_equality && is_scalar && !self.bound.iter().any(|bound| bound == name.id) {
            self.usage.compared.push(Compared {
                name: name.id.to_owned(),
                with_text: value.kind() == ValueKind::String,
                value: serde_json::to_string(&value).unwrap_or_default(),
                range: bytes(name.span()),
            });
        }
    }

    fn guard(&mut self, copes: bool, inside: impl FnOnce(&mut Self)) {
        self.guarded += usize::from(copes);
        inside(self);
        self.guarded -= usize::from(copes);
    }

    fn call(&mut self, call: &ast::Call<'_>) {
        match &call.expr {
            ast::Expr::Var(function) if FUNCTIONS.contains(&function.id) => {}
            ast::Expr::Var(function) if !self.bound.iter().any(|name| name == function.id) => self
                .usage
                .functions
                .push((function.id.to_owned(), bytes(call.expr.span()))),
            // A method: what matters is the value it is called on.
            ast::Expr::GetAttr(method) => self.expr(&method.expr),
            other => self.expr(other),
        }
        self.arguments(&call.args);
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'_>]) {
        for argument in arguments {
            match argument {
                ast::CallArg::Pos(value)
                | ast::CallArg::Kwarg(_, value)
                | ast::CallArg::PosSplat(value)
                | ast::CallArg::KwargSplat(value) => self.expr(value),
            }
        }
    }

    /// `a.b["c"].d`: a name and the attributes read from it.
    fn chain(&mut self, expr: &ast::Expr<'_>) {
        let mut attributes = Vec::new();
        let mut at = expr;
        // Set back to nothing where a computed subscript ends what can be known.
        loop {
            match at {
                ast::Expr::GetAttr(inner) => {
                    attributes.push(inner.name.to_owned());
                    at = &inner.expr;
                }
                ast::Expr::GetItem(inner) => {
                    if let Some(key) = inner
                        .subscript_expr
                        .as_const()
                        .and_then(|key| key.as_str().map(str::to_owned))
                    {
                        attributes.push(key);
                    } else {
                        self.expr(&inner.subscript_expr);
                        attributes.clear();
                    }
                    at = &inner.expr;
                }
                ast::Expr::Var(var) => {
                    if !self.bound.iter().any(|name| name == var.id) {
                        attributes.reverse();
                        self.usage.names.push(NameUse {
                            name: var.id.to_owned(),
                            attributes,
                            // The parser's span of an attribute begins at its dot.
                            range: bytes(at.span()).start..bytes(expr.span()).end,
                            name_range: bytes(at.span()),
                            guarded: self.guarded > 0,
                        });
                    }
                    return;
                }
                other => return self.expr(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<String> {
        Usage::of_expression(code)
            .names
            .iter()
            .map(|used| {
                let guard = if used.guarded { "?" } else { "" };
                let mut parts = vec![used.name.clone()];
                parts.extend(used.attributes.iter().cloned());
                assert_eq!(&code[used.name_range.clone()], used.name);
                format!("{}{guard}", parts.join("."))
            })
            .collect()
    }

    #[test]
    fn expressions() {
        for (code, expected) in [
            ("a", vec!["a"]),
            ("a.b['c'].d", vec!["a.b.c.d"]),
            ("a[i].b", vec!["i", "a"]),
            ("a.b|default(c)", vec!["a.b?", "c"]),
            ("a.b is defined and d", vec!["a.b?", "d"]),
            ("range(n)|map(attribute='x')", vec!["n"]),
            ("{'k': v, 'l': [w]}", vec!["v", "w"]),
            ("x if y else z", vec!["y", "x", "z"]),
            ("s.upper() ~ t[1:u]", vec!["s", "t", "u"]),
        ] {
            assert_eq!(names(code), expected, "{code}");
        }
    }

    #[test]
    fn texts_bind_their_own_names() {
        let usage = Usage::of_text(
            "{% for x in xs %}{{ x }}{{ loop.index }}{{ y }}{% endfor %}{% set q = 1 %}{{ q }}",
        );
        let names: Vec<_> = usage.names.iter().map(|used| used.name.as_str()).collect();
        assert_eq!(names, ["xs", "y"]);
    }

    #[test]
    fn every_suggested_filter_and_test_exists() {
        let engine = crate::template::Engine::new();
        let (filters, tests) = filter_names();
        for name in filters {
            assert!(engine.has_filter(name), "{name}");
        }
        for name in tests {
            assert!(engine.has_test(name), "{name}");
        }
    }
}
