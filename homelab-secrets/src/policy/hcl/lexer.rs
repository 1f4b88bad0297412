//! Text to tokens.

use std::fmt;

use super::HclError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Number(String),
    Equals,
    Comma,
    Open,
    Close,
    OpenList,
    CloseList,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(word) | Self::Number(word) => write!(f, "`{word}`"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Equals => f.write_str("`=`"),
            Self::Comma => f.write_str("`,`"),
            Self::Open => f.write_str("`{`"),
            Self::Close => f.write_str("`}`"),
            Self::OpenList => f.write_str("`[`"),
            Self::CloseList => f.write_str("`]`"),
        }
    }
}

pub(super) struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn next(&mut self) -> Result<Option<Token>, HclError> {
        self.skip_blank()?;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let single = match first {
            '=' => Some(Token::Equals),
            ',' => Some(Token::Comma),
            '{' => Some(Token::Open),
            '}' => Some(Token::Close),
            '[' => Some(Token::OpenList),
            ']' => Some(Token::CloseList),
            _ => None,
        };
        if let Some(token) = single {
            self.advance(1);
            return Ok(Some(token));
        }
        match first {
            '"' => self.text().map(|text| Some(Token::Text(text))),
            '0'..='9' | '-' => {
                Ok(Some(Token::Number(self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')))))
            }
            c if c.is_alphabetic() || c == '_' => {
                Ok(Some(Token::Name(self.word(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))))
            }
            '<' => self.fail("here-documents are not taken: write the text in quotes"),
            c => self.fail(format!("{c:?} has no meaning here")),
        }
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, HclError> {
        Err(HclError { line: self.line, reason: reason.into() })
    }

    fn advance(&mut self, bytes: usize) {
        let (gone, rest) = self.rest.split_at(bytes);
        self.line += gone.bytes().filter(|b| *b == b'\n').count();
        self.rest = rest;
    }

    fn skip_blank(&mut self) -> Result<(), HclError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            let skip = if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.rest.find('\n').unwrap_or(self.rest.len())
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => end + 4,
                    None => return self.fail("a comment is not closed: `*/` is missing"),
                }
            } else {
                return Ok(());
            };
            self.advance(skip);
        }
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        // The first character is one by what it was found by.
        let end = end.max(self.rest.chars().next().map_or(0, char::len_utf8));
        let word = self.rest[..end].to_owned();
        self.advance(end);
        word
    }

    /// A string in quotes, on one line.
    fn text(&mut self) -> Result<String, HclError> {
        let (mut out, mut chars) = (String::new(), self.rest[1..].char_indices());
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.advance(at + 2);
                    return Ok(out);
                }
                '\n' => break,
                '\\' => {
                    let escaped = escape(&mut chars);
                    let Some(c) = escaped else { return self.fail("a string has an escape that HCL does not know") };
                    out.push(c);
                }
                c => out.push(c),
            }
        }
        self.fail("a string is not closed: `\"` is missing")
    }
}

fn escape(chars: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let digits = match chars.next()?.1 {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        same @ ('"' | '\\') => return Some(same),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let mut code: u32 = 0;
    for _ in 0..digits {
        code = code.checked_mul(16)?.checked_add(chars.next()?.1.to_digit(16)?)?;
    }
    char::from_u32(code)
}
