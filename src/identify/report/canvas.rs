//! Lines, shapes and words on a picture, in points; the picture has [`SCALE`] pixels a point.

use std::io::Write;

use tiny_skia::{
    Color, FillRule, FilterQuality, LineCap, LineJoin, Paint, PathBuilder, Pixmap, PixmapPaint, Stroke, StrokeDash,
    Transform,
};
use ttf_parser::{Face, OutlineBuilder};

use crate::{Error, Result};

/// Pixels per point: sharp on today's screens and in print.
pub const SCALE: f32 = 2.0;

/// Red, green, blue, opacity (0 to 255).
pub type Rgba = [u8; 4];

/// Where text stands relative to its point.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// It begins there.
    Left,
    /// Its middle is there.
    Centre,
    /// It ends there.
    Right,
}

/// How a line is drawn.
#[derive(Clone, Copy)]
pub struct Pen {
    /// Its colour.
    pub color: Rgba,
    /// Its width in points.
    pub width: f32,
    /// Lengths of dash and gap in points.
    pub dash: Option<[f32; 2]>,
}

impl Pen {
    /// A solid line.
    pub fn new(color: Rgba, width: f32) -> Self {
        Self { color, width, dash: None }
    }

    /// The same, dashed.
    pub fn dashed(self, dash: f32, gap: f32) -> Self {
        Self { dash: Some([dash, gap]), ..self }
    }
}

/// A picture being drawn.
pub struct Canvas {
    pixmap: Pixmap,
    face: Face<'static>,
}

impl Canvas {
    /// An empty picture of `width` x `height` points.
    pub fn new(width: f32, height: f32, background: Rgba) -> Result<Self> {
        let size = |v: f32| (v * SCALE).ceil() as u32;
        let mut pixmap = Pixmap::new(size(width), size(height))
            .ok_or_else(|| Error::value("figure", format!("cannot make a picture of {width} x {height} points")))?;
        pixmap.fill(color(background));
        let face = Face::parse(epaint_default_fonts::UBUNTU_LIGHT, 0)
            .map_err(|e| Error::value("font", format!("the embedded font cannot be read: {e}")))?;
        Ok(Self { pixmap, face })
    }

    /// A straight line.
    pub fn line(&mut self, from: (f32, f32), to: (f32, f32), pen: Pen) {
        self.polyline(&[from, to], false, pen);
    }

    /// A line through points, back to the first if `closed`.
    pub fn polyline(&mut self, points: &[(f32, f32)], closed: bool, pen: Pen) {
        let mut path = PathBuilder::new();
        for (i, (x, y)) in points.iter().enumerate() {
            if i == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
        }
        if closed {
            path.close();
        }
        let Some(path) = path.finish() else { return };
        let stroke = Stroke {
            width: pen.width,
            line_cap: if pen.dash.is_some() { LineCap::Butt } else { LineCap::Round },
            line_join: LineJoin::Round,
            dash: pen.dash.and_then(|d| StrokeDash::new(d.to_vec(), 0.0)),
            ..Stroke::default()
        };
        self.pixmap.stroke_path(&path, &paint(pen.color), &stroke, scaled(), None);
    }

    /// A filled shape.
    pub fn shape(&mut self, points: &[(f32, f32)], fill: Rgba) {
        let mut path = PathBuilder::new();
        for (i, (x, y)) in points.iter().enumerate() {
            if i == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
        }
        path.close();
        if let Some(path) = path.finish() {
            self.pixmap.fill_path(&path, &paint(fill), FillRule::EvenOdd, scaled(), None);
        }
    }

    /// Colours `[height, width]` stretched over a rectangle, each a rectangle of its own.
    pub fn image(&mut self, colors: &[Rgba], columns: usize, at: [f32; 4]) {
        let rows = colors.len() / columns.max(1);
        let Some(mut image) = Pixmap::new(columns as u32, rows as u32) else { return };
        for (pixel, c) in image.pixels_mut().iter_mut().zip(colors) {
            *pixel = color(*c).premultiply().to_color_u8();
        }
        let [x, y, width, height] = at;
        let stretch = Transform::from_row(width / columns as f32, 0.0, 0.0, height / rows as f32, x, y);
        // Fine images are averaged, coarse ones keep their pixels.
        let fine = width * SCALE < 2.0 * columns as f32;
        let quality = if fine { FilterQuality::Bicubic } else { FilterQuality::Nearest };
        let paint = PixmapPaint { quality, ..PixmapPaint::default() };
        self.pixmap.draw_pixmap(0, 0, image.as_ref(), &paint, stretch.post_concat(scaled()), None);
    }

    /// Width in points of a line of text.
    pub fn text_width(&self, text: &str, size: f32) -> f32 {
        let unit = size / f32::from(self.face.units_per_em());
        text.chars().map(|c| self.advance(c) * unit).sum()
    }

    fn advance(&self, c: char) -> f32 {
        let glyph = self.face.glyph_index(c).unwrap_or_default();
        f32::from(self.face.glyph_hor_advance(glyph).unwrap_or(0))
    }

    /// A line of text whose baseline is at `y`. `weight` thickens the strokes, in points.
    pub fn text(&mut self, text: &str, (x, y): (f32, f32), size: f32, align: Align, weight: f32, fill: Rgba) {
        if let Some(path) = self.outline(text, (x, y), size, align) {
            self.pixmap.fill_path(&path, &paint(fill), FillRule::Winding, scaled(), None);
            if weight > 0.0 {
                self.stroke(&path, weight, fill);
            }
        }
    }

    /// Text in bold with a rim that sets it off from what is behind it.
    pub fn label(&mut self, text: &str, at: (f32, f32), size: f32, fill: Rgba, rim: Rgba) {
        let at = (at.0, at.1 + size * 0.35);
        if let Some(path) = self.outline(text, at, size, Align::Centre) {
            self.stroke(&path, 3.5, rim);
            self.pixmap.fill_path(&path, &paint(fill), FillRule::Winding, scaled(), None);
            self.stroke(&path, 0.8, fill);
        }
    }

    /// Text turned a quarter to the left, centred on its point.
    pub fn text_up(&mut self, text: &str, (x, y): (f32, f32), size: f32, weight: f32, fill: Rgba) {
        let turn = Transform::from_rotate_at(-90.0, x, y);
        let Some(path) = self.outline(text, (x, y), size, Align::Centre).and_then(|p| p.transform(turn)) else {
            return;
        };
        self.pixmap.fill_path(&path, &paint(fill), FillRule::Winding, scaled(), None);
        self.stroke(&path, weight, fill);
    }

    fn stroke(&mut self, path: &tiny_skia::Path, width: f32, fill: Rgba) {
        let stroke = Stroke { width, line_join: LineJoin::Round, ..Stroke::default() };
        self.pixmap.stroke_path(path, &paint(fill), &stroke, scaled(), None);
    }

    fn outline(&self, text: &str, (x, y): (f32, f32), size: f32, align: Align) -> Option<tiny_skia::Path> {
        let unit = size / f32::from(self.face.units_per_em());
        let width = self.text_width(text, size);
        let mut pen = Glyph { path: PathBuilder::new(), x, y, unit };
        pen.x -= match align {
            Align::Left => 0.0,
            Align::Centre => width / 2.0,
            Align::Right => width,
        };
        for c in text.chars() {
            if let Some(glyph) = self.face.glyph_index(c) {
                self.face.outline_glyph(glyph, &mut pen);
            }
            pen.x += self.advance(c) * unit;
        }
        pen.path.finish()
    }

    /// The picture as PNG.
    pub fn png(self, title: &str) -> Result<Vec<u8>> {
        let fail = |e: png::EncodingError| Error::value("figure", format!("cannot encode as PNG: {e}"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.pixmap.width(), self.pixmap.height());
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let per_metre = (SCALE * 96.0 / 0.0254) as u32;
        encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: per_metre, yppu: per_metre, unit: png::Unit::Meter }));
        encoder.add_itxt_chunk("Title".into(), title.into()).map_err(fail)?;
        encoder
            .add_text_chunk("Software".into(), concat!("sarcomere ", env!("CARGO_PKG_VERSION")).into())
            .map_err(fail)?;
        let mut writer = encoder.write_header().map_err(fail)?;
        let mut stream = writer.stream_writer().map_err(fail)?;
        // Row by row: a picture of many units is large.
        for row in self.pixmap.pixels().chunks_exact(self.pixmap.width() as usize) {
            let rgb: Vec<u8> = row.iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
            stream.write_all(&rgb).map_err(|e| fail(e.into()))?;
        }
        stream.finish().map_err(fail)?;
        writer.finish().map_err(fail)?;
        Ok(bytes)
    }
}

/// A font's outlines, moved and scaled onto a path; the font's y axis points up.
struct Glyph {
    path: PathBuilder,
    x: f32,
    y: f32,
    unit: f32,
}

impl Glyph {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.unit, self.y - y * self.unit)
    }
}

impl OutlineBuilder for Glyph {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }
    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }
    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }
    fn close(&mut self) {
        self.path.close();
    }
}

fn color([r, g, b, a]: Rgba) -> Color {
    Color::from_rgba8(r, g, b, a)
}

fn paint(fill: Rgba) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(color(fill));
    paint
}

fn scaled() -> Transform {
    Transform::from_scale(SCALE, SCALE)
}
