//! Colours: thirty for units, and what goes with a light or a dark page.

use super::canvas::Rgba;

/// Thirty colours on white. The first six follow Okabe and Ito; each further one is the colour whose least distance to all
/// before it, in OKLab, as seen with normal sight, protanopia, deuteranopia and tritanopia (Machado et al. 2009), is largest
/// among those with a contrast of 2.6 to white. Past the first dozen no set of this size stays apart for everyone: units carry
/// their number wherever they are drawn.
const ON_WHITE: [u32; 30] = [
    0x0072b2, 0xd55e00, 0x009e73, 0xc0569b, 0xe09600, 0x3aa0dd, 0x593300, 0x41089c, 0x900d57, 0x8d55f8, 0x856157,
    0x3f6319, 0xb292a9, 0x3342dc, 0x61468a, 0xf75eda, 0xc51b2b, 0x1e4b50, 0x8712b8, 0xea617a, 0x66127c, 0x8a8247,
    0xb688fe, 0x0c6a76, 0x6d7eb1, 0xa847c4, 0x722433, 0x91486f, 0xb0923c, 0x4472dc,
];

/// Thirty colours on near-black, chosen in the same way with a contrast of 5.
const ON_BLACK: [u32; 30] = [
    0x56b4e9, 0xff8a4c, 0x2fc79a, 0xe58cc4, 0xf0c040, 0x8f9dff, 0xb8e9ea, 0xa3856d, 0x3afe9e, 0xee40aa, 0xbf5af4,
    0xcef034, 0xd9bff6, 0x3e8ec1, 0x54b824, 0x7c9217, 0xa5cf84, 0x7fd1cd, 0x84a978, 0xc965c2, 0x62908e, 0xfed2cb,
    0xfea2ad, 0xa581e0, 0xff3959, 0xb8b074, 0xea6aa4, 0x92e573, 0xdec8a8, 0xc69ae1,
];

/// Colours of a page.
pub struct Theme {
    /// Behind everything.
    pub background: Rgba,
    /// Words.
    pub text: Rgba,
    /// Words of less weight, axes.
    pub faint: Rgba,
    /// Lines of the grid.
    pub grid: Rgba,
    /// The truth: outlines, signals, firings.
    pub truth: Rgba,
    /// The map where nothing moves, and where tissue moves most.
    pub map: [Rgba; 2],
    units: &'static [u32; 30],
}

/// On white.
pub const LIGHT: Theme = Theme {
    background: [255, 255, 255, 255],
    text: [28, 32, 38, 255],
    faint: [96, 104, 114, 255],
    grid: [224, 228, 233, 255],
    truth: [112, 118, 126, 255],
    map: [[250, 250, 250, 255], [118, 128, 140, 255]],
    units: &ON_WHITE,
};

/// On near-black.
pub const DARK: Theme = Theme {
    background: [22, 26, 32, 255],
    text: [232, 236, 241, 255],
    faint: [154, 163, 174, 255],
    grid: [48, 55, 64, 255],
    truth: [150, 158, 168, 255],
    map: [[16, 19, 24, 255], [128, 138, 150, 255]],
    units: &ON_BLACK,
};

impl Theme {
    /// The colour of the unit with this number (from 1); past thirty they begin again.
    pub fn unit(&self, id: usize) -> Rgba {
        let [_, r, g, b] = self.units[(id + 29) % 30].to_be_bytes();
        [r, g, b, 255]
    }

    /// The colour of a velocity that is `share` of the map's largest.
    pub fn map_color(&self, share: f32) -> Rgba {
        let share = share.clamp(0.0, 1.0);
        let mix = |i: usize| {
            let (a, b) = (f32::from(self.map[0][i]), f32::from(self.map[1][i]));
            (a + (b - a) * share).round() as u8
        };
        [mix(0), mix(1), mix(2), 255]
    }
}

/// The same colour at another opacity (0 to 1).
pub fn alpha([r, g, b, _]: Rgba, opacity: f32) -> Rgba {
    [r, g, b, (opacity * 255.0).round() as u8]
}

/// `#rrggbb`.
pub fn hex([r, g, b, _]: Rgba) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}
