//! The HTTP gate: one GET against the Service of the idle colour. Pure part; the request is made by `backend::probe`.

use std::time::Duration;

use super::{GateTarget, Verdict};

/// What is asked, and what is a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Path with query, as in `/healthz`.
    pub path: String,
    /// Status that is good; none: 200 to 299.
    pub status: Option<u16>,
    /// Text that the body has to contain.
    pub body: Option<String>,
    /// Time for one attempt.
    pub timeout: Duration,
    /// Attempts before it has failed.
    pub attempts: u32,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self { path: "/".into(), status: None, body: None, timeout: Duration::from_secs(5), attempts: 3 }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Start of the body, as far as it was read.
    pub body: Vec<u8>,
}

impl HttpCheck {
    /// The URL that is asked, for people: inside the cluster it is what a client would use.
    pub fn url(&self, target: &GateTarget) -> String {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        format!("http://{}.{}.svc:{}{slash}{}", target.service, target.namespace, target.port, self.path)
    }

    /// Judges one answer. The body is shown only if its content was asked for: it may hold secrets.
    pub fn judge(&self, url: &str, answer: &Answer) -> Verdict {
        let Answer { status, body } = answer;
        let good = self.status.map_or_else(|| (200..300).contains(status), |wanted| wanted == *status);
        let wanted = self.status.map_or_else(|| "2xx".into(), |s| s.to_string());
        let size = body.len();
        if !good {
            return Verdict::Failure(format!("GET {url} answered {status}, not {wanted}{}", self.shown(body)));
        }
        match &self.body {
            Some(text) if !String::from_utf8_lossy(body).contains(text.as_str()) => {
                let shown = self.shown(body);
                Verdict::Failure(format!("GET {url} answered {status} without {text:?} in its {size} bytes{shown}"))
            }
            _ => Verdict::Success(format!("GET {url} answered {status} with {size} bytes")),
        }
    }

    fn shown(&self, body: &[u8]) -> String {
        if self.body.is_none() {
            return String::new();
        }
        let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
        format!(": {start:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(check: &HttpCheck, status: u16, body: &str) -> String {
        let target = GateTarget { namespace: "app".into(), service: "web-green".into(), port: 80 };
        let verdict = check.judge(&check.url(&target), &Answer { status, body: body.into() });
        let kind = match verdict {
            Verdict::Success(_) => "yes",
            Verdict::Failure(_) => "no",
            Verdict::Inconclusive(_) => "?",
        };
        format!("{kind}: {}", verdict.detail())
    }

    #[test]
    fn an_answer_is_judged_by_status_and_body() {
        let check = HttpCheck { path: "healthz".into(), ..HttpCheck::default() };
        assert_eq!(
            judged(&check, 200, "secret"),
            "yes: GET http://web-green.app.svc:80/healthz answered 200 with 6 bytes"
        );
        assert_eq!(judged(&check, 503, "secret"), "no: GET http://web-green.app.svc:80/healthz answered 503, not 2xx");
        let check = HttpCheck { status: Some(204), body: Some("ok".into()), ..check };
        assert_eq!(
            judged(&check, 200, "bad"),
            r#"no: GET http://web-green.app.svc:80/healthz answered 200, not 204: "bad""#
        );
        assert_eq!(
            judged(&check, 204, "bad"),
            r#"no: GET http://web-green.app.svc:80/healthz answered 204 without "ok" in its 3 bytes: "bad""#
        );
        assert!(judged(&check, 204, "all ok").starts_with("yes"));
    }
}
