//! The little of HCL 1 that policies are written in: nested blocks, strings, numbers, booleans, lists, comments; and the
//! same as JSON, as Vault takes it.
//!
//! Vault's policies are HCL 1, which differs from HCL 2 just where policies are short: several attributes or blocks on a
//! line. Source: the grammar that `github.com/hashicorp/hcl` (version 1) accepts.

use std::fmt;

mod lexer;

use lexer::{Lexer, Token};

/// Longest text of a policy, in bytes.
pub const MAX_TEXT: usize = 128 * 1024;
/// How deep blocks and lists may be nested.
const MAX_DEPTH: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string, its escapes resolved.
    Text(String),
    /// A number or a boolean, as it is written.
    Word(String),
    /// A list.
    List(Vec<Self>),
    /// A block or an object.
    Object(Vec<Item>),
}

/// One attribute or block: `capabilities = […]`, `path "x" { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its name and labels.
    pub keys: Vec<String>,
    /// What it holds.
    pub value: Value,
    /// Line that it starts on, from 1.
    pub line: usize,
}

/// Why a text is not HCL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct HclError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for HclError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Reads a whole text: HCL, or JSON if it starts with `{`.
pub fn parse(text: &str) -> Result<Vec<Item>, HclError> {
    let fail = |line, reason: String| HclError { line, reason };
    if text.len() > MAX_TEXT {
        return Err(fail(1, format!("it is longer than {MAX_TEXT} bytes")));
    }
    if text.trim_start().starts_with('{') {
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|e| fail(e.line(), "it starts like JSON, but is none".into()))?;
        return match from_json(&json) {
            Value::Object(items) => Ok(items),
            _ => Err(fail(1, "it has to be an object".into())),
        };
    }
    let mut parser = Parser { lexer: Lexer::new(text), ahead: None };
    let items = parser.items(None, 0)?;
    Ok(items)
}

/// Nested maps become items with one key each; a list of objects is the same as the objects one after another. serde_json
/// itself bounds the depth.
fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(values) => Value::List(values.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            let item = |(key, value)| Item { keys: vec![String::clone(key)], value: from_json(value), line: 1 };
            Value::Object(map.iter().map(item).collect())
        }
        other => Value::Word(other.to_string()),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Token>,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Option<Token>, HclError> {
        match self.ahead.take() {
            Some(token) => Ok(Some(token)),
            None => self.lexer.next(),
        }
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, HclError> {
        Err(HclError { line: self.lexer.line(), reason: reason.into() })
    }

    /// Items up to `end`, or to the end of the text.
    fn items(&mut self, end: Option<&Token>, depth: usize) -> Result<Vec<Item>, HclError> {
        if depth > MAX_DEPTH {
            return self.fail(format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        let mut items = Vec::new();
        loop {
            let token = self.next()?;
            let line = self.lexer.line();
            match token {
                None if end.is_none() => return Ok(items),
                None => return self.fail("a block is not closed: `}` is missing"),
                Some(token) if Some(&token) == end => return Ok(items),
                Some(Token::Name(key) | Token::Text(key)) => {
                    let item = self.item(key, line, depth)?;
                    items.push(item);
                }
                Some(token) => return self.fail(format!("{token} stands where a name is expected")),
            }
            match self.next()? {
                Some(Token::Comma) if depth > 0 => {}
                token => self.ahead = token,
            }
        }
    }

    fn item(&mut self, first: String, line: usize, depth: usize) -> Result<Item, HclError> {
        let mut keys = vec![first];
        loop {
            match self.next()? {
                Some(Token::Name(key) | Token::Text(key)) => keys.push(key),
                Some(Token::Open) => {
                    let value = Value::Object(self.items(Some(&Token::Close), depth + 1)?);
                    return Ok(Item { keys, value, line });
                }
                Some(Token::Equals) if keys.len() == 1 => {
                    let token = self.next()?;
                    let value = self.value(token, depth + 1)?;
                    return Ok(Item { keys, value, line });
                }
                Some(token) => return self.fail(format!("{token} stands where `{{` or a value is expected")),
                None => return self.fail("it ends where `{` or a value is expected"),
            }
        }
    }

    fn value(&mut self, token: Option<Token>, depth: usize) -> Result<Value, HclError> {
        if depth > MAX_DEPTH {
            return self.fail(format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        match token {
            Some(Token::Text(text)) => Ok(Value::Text(text)),
            Some(Token::Name(word)) if word == "true" || word == "false" => Ok(Value::Word(word)),
            Some(Token::Number(word)) => Ok(Value::Word(word)),
            Some(Token::Open) => Ok(Value::Object(self.items(Some(&Token::Close), depth + 1)?)),
            Some(Token::OpenList) => self.list(depth),
            Some(token) => self.fail(format!("{token} stands where a value is expected")),
            None => self.fail("it ends where a value is expected"),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, HclError> {
        let mut values = Vec::new();
        loop {
            match self.next()? {
                Some(Token::CloseList) => return Ok(Value::List(values)),
                token => {
                    let value = self.value(token, depth + 1)?;
                    values.push(value);
                }
            }
            match self.next()? {
                Some(Token::Comma) => {}
                Some(Token::CloseList) => return Ok(Value::List(values)),
                _ => return self.fail("a list goes on with `,` or ends with `]`"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
