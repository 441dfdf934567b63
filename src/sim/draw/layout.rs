//! Where everything goes: a column per process that takes part, a row per row.

use super::canvas::{Canvas, Layer, wrap};
use super::label::Kind;
use super::rows::{Arrival, Change, Fate, Row, Tone};
use super::{Mark, Picture};
use crate::kernel::ProcessId;
use crate::sim::facts::Facts;
use crate::sim::trace::Part;
use crate::stack::Role;
use std::collections::{BTreeMap, BTreeSet};

const LINE: f64 = 17.0;
/// From one side to the first process; step numbers stand there.
const LEFT: f64 = 92.0;
/// From a process to its text.
const GAP: f64 = 14.0;

/// What is known of a process at some height.
#[derive(Clone, Copy, Default)]
struct Standing {
    up: bool,
    part: Option<Part>,
    facts: Facts,
}

/// A text beside a process: to the left of its line, or to the right.
struct Beside {
    left: bool,
    class: &'static str,
    lines: Vec<String>,
}

/// A picture being laid out.
pub(super) struct Layout<'a> {
    picture: &'a Picture<'a>,
    rows: &'a [Row],
    shown: &'a [usize],
    columns: Vec<ProcessId>,
    column: f64,
    canvas: Canvas,
    y: f64,
    standing: BTreeMap<ProcessId, Standing>,
    /// Where the line of each process is drawn up to.
    drawn: BTreeMap<ProcessId, f64>,
    /// From where each message was sent, if that is shown.
    sent: BTreeMap<u64, (ProcessId, f64)>,
    /// The messages that come to an end anywhere.
    ends: BTreeSet<u64>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(picture: &'a Picture<'a>, rows: &'a [Row], shown: &'a [usize]) -> Self {
        let mut takes_part: BTreeSet<ProcessId> = BTreeSet::new();
        for row in shown.iter().map(|i| &rows[*i]) {
            takes_part.extend(row.at);
            takes_part.extend(row.arrivals.iter().map(|arrival| arrival.from));
        }
        if takes_part.is_empty() {
            takes_part.extend((0..picture.processes as u8).map(ProcessId));
        }
        let columns: Vec<ProcessId> = takes_part.into_iter().collect();
        let column = match columns.len() {
            0 | 1 => 640.0,
            2 => 460.0,
            3 => 340.0,
            4 => 300.0,
            _ => 270.0,
        };
        Self {
            picture,
            rows,
            shown,
            columns,
            column,
            canvas: Canvas::default(),
            y: 0.0,
            standing: BTreeMap::new(),
            drawn: BTreeMap::new(),
            sent: BTreeMap::new(),
            ends: rows.iter().flat_map(|row| &row.arrivals).map(|arrival| arrival.id).collect(),
        }
    }

    fn x(&self, p: ProcessId) -> f64 {
        let at = self.columns.iter().position(|q| *q == p).unwrap_or(0);
        LEFT + self.column * at as f64
    }

    fn width(&self) -> f64 {
        LEFT + self.column * self.columns.len() as f64
    }

    pub(super) fn draw(mut self) -> String {
        self.heading();
        let first = self.shown.first().copied().unwrap_or(self.rows.len());
        for i in 0..first {
            self.learn(i);
        }
        self.processes();
        self.tell_omitted(0, first);
        let mut next = first;
        for at in 0..self.shown.len() {
            let i = self.shown[at];
            self.gap(next, i);
            self.row(i);
            next = i + 1;
        }
        if self.picture.mark.is_none() {
            self.gap(next, self.rows.len());
            self.y += 12.0;
            for p in self.columns.clone() {
                self.line_to(p, self.y);
            }
        }
        self.legend();
        let (width, height) = (self.width(), self.y + 16.0);
        let description = self.picture.mark.as_ref().map_or_else(String::new, |mark| mark.detail.clone());
        self.canvas.finish(width, height, &self.picture.title, &description)
    }

    fn heading(&mut self) {
        self.y = 30.0;
        let bad = if self.picture.mark.is_some() { "h1 bad" } else { "h1" };
        self.canvas.text(16.0, self.y, bad, &self.picture.title);
        let mut texts = self.picture.captions.clone();
        texts.extend(self.picture.mark.iter().map(|mark| format!("{}.", first_line(&mark.detail))));
        let idle = (0..self.picture.processes as u8).map(ProcessId).filter(|p| !self.columns.contains(p));
        let idle: Vec<String> = idle.map(|p| p.to_string()).collect();
        if !idle.is_empty() {
            texts.push(format!("Not drawn, as nothing that matters happens there: {}.", idle.join(", ")));
        }
        self.y += 6.0;
        let width = self.width() - 32.0;
        for line in texts.iter().flat_map(|text| wrap(text, width)) {
            self.y += LINE;
            self.canvas.text(16.0, self.y, "", &line);
        }
        self.y += 16.0;
    }

    /// The names of the processes, and what is known of each where the picture begins.
    fn processes(&mut self) {
        self.y += LINE;
        let top = self.y;
        let mut bottom = top;
        for p in self.columns.clone() {
            let x = self.x(p) - 8.0;
            self.canvas.text(x, top, "h2", &p.to_string());
            let mut y = top;
            for line in wrap(&self.known(p), self.column - 24.0) {
                y += LINE;
                self.canvas.text(x, y, "soft", &line);
            }
            bottom = bottom.max(y);
        }
        self.canvas.text(16.0, top, "soft", "step");
        self.y = bottom + 10.0;
        for p in self.columns.clone() {
            self.drawn.insert(p, self.y);
        }
    }

    fn known(&self, p: ProcessId) -> String {
        let Some(Standing { up, part, facts }) = self.standing.get(&p).copied() else {
            return "not booted yet".into();
        };
        let role = match part.filter(|_| up) {
            None => "down".into(),
            Some(Part { role: Role::Leader, ballot, .. }) => format!("leads in {ballot}"),
            Some(Part { role: Role::Candidate, ballot, .. }) => format!("stands in {ballot}"),
            Some(Part { role: Role::Follower, .. }) => "follows".into(),
            Some(Part { role: Role::Learner(_), .. }) => "learns only".into(),
            Some(Part { role: Role::Forming, .. }) => "forming".into(),
        };
        let decided = part.map_or(facts.decided, |part| part.decided);
        format!(
            "incarnation {}, {role}\nprom {}, accRnd {}\nlog length {}, decided {decided}",
            facts.inc, facts.prom, facts.acc, facts.len
        )
    }

    /// Takes in what a row changes.
    fn learn(&mut self, i: usize) {
        let row = &self.rows[i];
        let Some(at) = row.at else { return };
        let standing = self.standing.entry(at).or_default();
        match row.change {
            Some(Change::Crash) => *standing = Standing { up: false, part: None, ..*standing },
            Some(Change::Recovery) => standing.up = true,
            None => {}
        }
        standing.part = row.part.or(standing.part);
        standing.facts = row.facts.unwrap_or(standing.facts);
    }

    /// Draws the line of a process down to some height, as it stands.
    fn line_to(&mut self, p: ProcessId, y: f64) {
        let from = self.drawn.insert(p, y).unwrap_or(y);
        let standing = self.standing.get(&p).copied().unwrap_or_default();
        let class = match standing.part.map(|part| part.role) {
            _ if !standing.up => "down",
            Some(Role::Leader) => "lead",
            Some(Role::Candidate) => "stand",
            Some(Role::Follower | Role::Learner(_) | Role::Forming) | None => "up",
        };
        let x = self.x(p);
        self.canvas.line(Layer::Bands, class, (x, from), (x, y));
    }

    /// Passes by the rows that are left out between two, and tells how many they are.
    fn gap(&mut self, from: usize, to: usize) {
        let y = self.y + 10.0;
        for i in from..to {
            let changes = self.rows[i].part.is_some() || self.rows[i].change.is_some();
            if let Some(at) = self.rows[i].at.filter(|at| changes && self.columns.contains(at)) {
                self.line_to(at, y);
            }
            self.learn(i);
        }
        self.tell_omitted(from, to);
    }

    fn tell_omitted(&mut self, from: usize, to: usize) {
        let (mut heartbeats, mut ticks, mut other) = (0, 0, 0);
        // In step 0 all boot.
        for row in self.rows[from..to].iter().filter(|row| row.step > 0) {
            let beats = row.arrivals.iter().filter(|a| a.kind == Kind::Heartbeat).count();
            heartbeats += beats;
            ticks += usize::from(row.ticks);
            other += usize::from(beats == 0 && !row.ticks);
        }
        let counted = [(ticks, "tick"), (heartbeats, "heartbeat"), (other, "other step")];
        let counted = counted.iter().filter(|(n, _)| *n > 0);
        let counted: Vec<String> =
            counted.map(|(n, what)| format!("{n} {what}{}", if *n == 1 { "" } else { "s" })).collect();
        if counted.is_empty() {
            return;
        }
        self.y += 20.0;
        self.canvas.text(16.0, self.y - 4.0, "soft", "⋯");
        self.canvas.text(LEFT + GAP, self.y - 4.0, "soft", &format!("{} not drawn", counted.join(", ")));
        self.y += 4.0;
    }

    fn row(&mut self, i: usize) {
        let row = &self.rows[i];
        let Some(at) = row.at else {
            let text: Vec<&str> = row.notes.iter().map(|(_, text)| text.as_str()).collect();
            self.y += LINE + 4.0;
            self.canvas.text(16.0, self.y, "soft", &row.step.to_string());
            self.canvas.text(LEFT + GAP, self.y, "fault b", &text.join("; "));
            self.y += 8.0;
            if row.violated {
                self.violation(i);
            }
            return;
        };
        let (x, arrives, first) = (self.x(at), self.y + 7.0, self.y + 17.0);
        self.canvas.line(
            Layer::Bands,
            "rule",
            (LEFT - 20.0, self.y + 1.0),
            (self.width() - 8.0, self.y + 1.0),
        );
        self.line_to(at, first);
        self.learn(i);
        self.canvas.text(16.0, first + 4.0, "soft", &row.step.to_string());
        let mut heights = [0usize; 2];
        for Beside { left, class, lines } in self.texts(row, at) {
            // Both sides begin at the same height; each grows by itself.
            let height = &mut heights[usize::from(left)];
            for line in lines {
                let y = first + 4.0 + LINE * *height as f64;
                *height += 1;
                match left {
                    true => self.canvas.text(x - GAP, y, &format!("{class} e"), &line),
                    false => self.canvas.text(x + GAP, y, class, &line),
                }
            }
        }
        // What arrives does so above the text, and what is sent leaves below: no arrow of a row
        // crosses its words.
        let leaves = first + LINE * (heights[0].max(heights[1]).max(1) - 1) as f64 + 11.0;
        for arrival in row.arrivals.iter().filter(|a| a.shown && a.kind != Kind::Heartbeat) {
            self.message(arrival, (x, arrives));
        }
        for sending in &row.sends {
            self.sent.insert(sending.id, (at, leaves));
        }
        self.signs(row, (x, first));
        self.y = leaves + 5.0;
        if row.violated {
            self.violation(i);
        }
    }

    /// What is written beside a process: what arrives on the side that it comes from.
    fn texts(&self, row: &Row, at: ProcessId) -> Vec<Beside> {
        let width = self.column - 2.0 * GAP - 6.0;
        let mut texts = Vec::new();
        for arrival in row.arrivals.iter().filter(|a| a.shown && a.kind != Kind::Heartbeat) {
            let left = arrival.from < at;
            let label = match arrival.fate {
                Fate::Arrived => arrival.label.clone(),
                Fate::Lost => format!("{}, lost", arrival.label),
                Fate::Corrupted => arrival.label.clone(),
            };
            let text = match (left, self.sent.contains_key(&arrival.id)) {
                (_, true) => label,
                (_, false) => format!("{label} (sent earlier by {})", arrival.from),
            };
            let class = if arrival.fate == Fate::Arrived { "" } else { "fault" };
            texts.push(Beside { left, class, lines: wrap(&text, width) });
        }
        for (tone, text) in &row.notes {
            let class = match tone {
                Tone::Client => "client",
                Tone::Store => "store",
                Tone::Part => "part b",
                Tone::Fault => "fault b",
            };
            texts.push(Beside { left: false, class, lines: wrap(text, width) });
        }
        for (label, receivers) in self.in_vain(row) {
            let text = format!("{label} to {} never arrives", receivers.join(", "));
            texts.push(Beside { left: false, class: "soft", lines: wrap(&text, width) });
        }
        texts
    }

    /// What is sent here and arrives nowhere, with those who were meant to receive it.
    fn in_vain<'r>(&self, row: &'r Row) -> BTreeMap<&'r str, Vec<String>> {
        let mut lost: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for sending in
            row.sends.iter().filter(|s| s.shown && s.kind == Kind::Protocol && !self.ends.contains(&s.id))
        {
            lost.entry(&sending.label).or_default().push(sending.to.to_string());
        }
        lost
    }

    fn message(&mut self, arrival: &Arrival, to: (f64, f64)) {
        let start = match self.sent.get(&arrival.id) {
            Some((p, y)) => (self.x(*p), *y),
            // From above the picture.
            None => {
                let aside = if self.x(arrival.from) < to.0 { -40.0 } else { 40.0 };
                (to.0 + aside, to.1 - 8.0)
            }
        };
        let between = |part: f64| (start.0 + part * (to.0 - start.0), start.1 + part * (to.1 - start.1));
        match arrival.fate {
            Fate::Arrived => self.canvas.arrow("m", start, to, true),
            Fate::Lost => {
                self.canvas.arrow("lost", start, between(0.6), false);
                self.canvas.cross("x", between(0.6), 5.0);
            }
            Fate::Corrupted => {
                self.canvas.arrow("lost", start, between(0.9), false);
                self.canvas.cross("x", between(0.9), 5.0);
            }
        }
    }

    fn signs(&mut self, row: &Row, at: (f64, f64)) {
        match row.change {
            Some(Change::Crash) => self.canvas.cross("x", at, 8.0),
            Some(Change::Recovery) => self.canvas.circle(at, 6.0, "page ring"),
            None if row.notes.iter().any(|(tone, _)| *tone == Tone::Store) => {
                self.canvas.square(at, 5.5, "store");
            }
            None => self.canvas.circle(at, 2.5, "on-ink"),
        }
        if row.violated {
            self.canvas.circle(at, 8.5, "page alarm");
            self.canvas.cross("alarm", at, 4.0);
        }
    }

    fn violation(&mut self, i: usize) {
        let Some(mark) = &self.picture.mark else { return };
        let top = self.y + 4.0;
        let Mark { property, detail, at, step } = mark;
        let place = self.rows[i].at.or(*at).map_or_else(String::new, |p| format!(" at {p}"));
        let mut lines = vec![format!("✗ Step {step}{place}: “{property}” is violated.")];
        lines.extend(detail.lines().flat_map(|line| wrap(line, self.width() - LEFT - 16.0)));
        for p in self.columns.clone() {
            self.line_to(p, top);
        }
        self.y += 8.0;
        for (n, line) in lines.iter().enumerate() {
            self.y += LINE;
            let class = if n == 0 { "bad b" } else { "bad" };
            self.canvas.plain(LEFT - 8.0, self.y, class, line);
        }
        self.y += 10.0;
        self.canvas.band(top, self.width(), self.y - top);
    }

    fn legend(&mut self) {
        self.y += 26.0;
        let y = self.y;
        self.canvas.line(Layer::Bands, "rule", (16.0, y - 18.0), (self.width() - 16.0, y - 18.0));
        let mut x = 16.0;
        let entries = ["follows", "stands", "leads", "down", "durable", "message", "lost", "crash", "boot"];
        for entry in entries {
            let (mid, at) = (y - 4.0, (x + 12.0, y - 4.0));
            match entry {
                "follows" => self.canvas.line(Layer::Lines, "up", (x, mid), (x + 26.0, mid)),
                "stands" => self.canvas.line(Layer::Lines, "stand", (x, mid), (x + 26.0, mid)),
                "leads" => self.canvas.line(Layer::Lines, "lead", (x, mid), (x + 26.0, mid)),
                "down" => self.canvas.line(Layer::Lines, "down", (x, mid), (x + 26.0, mid)),
                "durable" => self.canvas.square(at, 5.5, "store"),
                "message" => self.canvas.arrow("m", (x, mid), (x + 26.0, mid), true),
                "lost" => {
                    self.canvas.arrow("lost", (x, mid), (x + 20.0, mid), false);
                    self.canvas.cross("x", (x + 22.0, mid), 4.0);
                }
                "crash" => self.canvas.cross("x", at, 6.0),
                _ => self.canvas.circle(at, 6.0, "page ring"),
            }
            self.canvas.text(x + 32.0, y, "soft", entry);
            x += 98.0;
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end_matches('.')
}
