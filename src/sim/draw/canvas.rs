//! SVG, written by hand: four layers, escaped text, and colours for light and dark pages.

use std::fmt::Write as _;

/// Colours carry nothing that shape, dash or words do not: a grey print reads the same.
const LIGHT: &str = "\
text,.on-ink{fill:#1f2328}.page{fill:#fff}.t{stroke:#fff}.soft{fill:#5b6470}.store{fill:#176b33}\
.client{fill:#6b3fa0}.part{fill:#0a58a8}.fault{fill:#a8320a}.bad{fill:#b00020}.band{fill:#fdecee}\
.up{stroke:#5b6470}.lead{stroke:#0a58a8}.stand{stroke:#9a5b00}.down{stroke:#b3bac4}\
.m,.ink{stroke:#1f2328}.lost,.x,.ring{stroke:#a8320a}.alarm{stroke:#b00020}.rule{stroke:#eef0f3}";
const DARK: &str = "\
text,.on-ink{fill:#e6e9ee}.page{fill:#0f1318}.t{stroke:#0f1318}.soft{fill:#9aa4b1}.store{fill:#6fd08c}\
.client{fill:#c3a1f5}.part{fill:#6cb2ff}.fault{fill:#ff9c73}.bad{fill:#ff7b8a}.band{fill:#3a171d}\
.up{stroke:#9aa4b1}.lead{stroke:#6cb2ff}.stand{stroke:#f0b254}.down{stroke:#4a5361}\
.m,.ink{stroke:#e6e9ee}.lost,.x,.ring{stroke:#ff9c73}.alarm{stroke:#ff7b8a}.rule{stroke:#1c222a}";
const SHAPE: &str = "\
text{font-family:'Helvetica Neue',Arial,'Liberation Sans','DejaVu Sans',sans-serif;font-size:12px}\
.t{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}.e{text-anchor:end}\
.h1{font-size:18px;font-weight:700}.h2{font-size:15px;font-weight:700}.b{font-weight:700}\
.x,.alarm{fill:none}.up{stroke-width:1.5px}.lead{stroke-width:5px}\
.stand{stroke-width:3px;stroke-dasharray:7 3}.down{stroke-width:1px;stroke-dasharray:1 5}\
.m{stroke-width:1.2px}.lost{stroke-width:1.2px;stroke-dasharray:5 4}\
.x,.alarm,.ring{stroke-width:2.5px}.rule{stroke-width:1px}";

/// The least width of a character of the fonts, in pixels, that text is laid out with.
const CHARACTER: f64 = 6.9;

/// A picture under way.
#[derive(Default)]
pub(super) struct Canvas {
    /// From the lowest to the highest: bands, lines, signs, text.
    layers: [String; 4],
}

/// A layer.
#[derive(Clone, Copy)]
pub(super) enum Layer {
    Bands,
    Lines,
    Signs,
    Text,
}

impl Canvas {
    fn put(&mut self, layer: Layer, element: std::fmt::Arguments<'_>) {
        let _ = self.layers[layer as usize].write_fmt(element);
        self.layers[layer as usize].push('\n');
    }

    pub(super) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        self.put(Layer::Text, format_args!(r#"<text x="{x:.0}" y="{y:.0}" class="t {class}">{text}</text>"#));
    }

    /// Text on a band, which nothing crosses.
    pub(super) fn plain(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        self.put(Layer::Text, format_args!(r#"<text x="{x:.0}" y="{y:.0}" class="{class}">{text}</text>"#));
    }

    pub(super) fn line(&mut self, layer: Layer, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.put(
            layer,
            format_args!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#),
        );
    }

    /// A message, with its head at `to`.
    pub(super) fn arrow(&mut self, class: &str, from: (f64, f64), to: (f64, f64), head: bool) {
        self.line(Layer::Lines, class, from, to);
        if !head {
            return;
        }
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1.0);
        let (ux, uy) = (dx / length, dy / length);
        let at = |along: f64, aside: f64| (to.0 - along * ux - aside * uy, to.1 - along * uy + aside * ux);
        let ((ax, ay), (bx, by)) = (at(9.0, 4.0), at(9.0, -4.0));
        let (x, y) = to;
        self.put(
            Layer::Signs,
            format_args!(r#"<path d="M{x:.1} {y:.1}L{ax:.1} {ay:.1}L{bx:.1} {by:.1}Z" class="on-ink"/>"#),
        );
    }

    /// A cross.
    pub(super) fn cross(&mut self, class: &str, (x, y): (f64, f64), r: f64) {
        let (l, t, e, b) = (x - r, y - r, x + r, y + r);
        self.put(
            Layer::Signs,
            format_args!(
                r#"<path d="M{l:.1} {t:.1}L{e:.1} {b:.1}M{e:.1} {t:.1}L{l:.1} {b:.1}" class="{class}"/>"#
            ),
        );
    }

    pub(super) fn circle(&mut self, (x, y): (f64, f64), r: f64, class: &str) {
        self.put(Layer::Signs, format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="{r}" class="{class}"/>"#));
    }

    /// A square about a point.
    pub(super) fn square(&mut self, (x, y): (f64, f64), r: f64, class: &str) {
        let (left, top, side) = (x - r, y - r, 2.0 * r);
        self.put(
            Layer::Signs,
            format_args!(
                r#"<rect x="{left:.1}" y="{top:.1}" width="{side}" height="{side}" class="{class}"/>"#
            ),
        );
    }

    pub(super) fn band(&mut self, y: f64, width: f64, height: f64) {
        // Over the lines of the processes.
        self.put(
            Layer::Lines,
            format_args!(r#"<rect x="0" y="{y:.0}" width="{width:.0}" height="{height:.0}" class="band"/>"#),
        );
    }

    /// The whole picture.
    pub(super) fn finish(self, width: f64, height: f64, title: &str, description: &str) -> String {
        let (title, description) = (escape(title), escape(description));
        let [bands, lines, signs, text] = self.layers;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="img">
<title>{title}</title>
<desc>{description}</desc>
<style>{SHAPE}{LIGHT}@media(prefers-color-scheme:dark){{{DARK}}}</style>
<rect width="100%" height="100%" class="page"/>
{bands}{lines}{signs}{text}</svg>
"#
        )
    }
}

/// Text as XML holds it; what XML cannot hold is left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Breaks text into lines that fit a width.
pub(super) fn wrap(text: &str, width: f64) -> Vec<String> {
    let most = ((width / CHARACTER) as usize).max(8);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > most {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
