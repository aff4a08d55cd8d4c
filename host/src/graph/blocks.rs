//! Shapes of blocks of pixels as channels.

/// Shape of `[N, C, H, W]` when blocks become channels, or channels blocks.
pub(super) fn shape(input: &[usize], block: usize, to_depth: bool) -> Result<Vec<usize>, String> {
    let [batch, channels, height, width] = input[..] else { return Err(format!("wants [C, H, W], got {input:?}")) };
    if block == 0 {
        return Err("`block` must be 1 or more, got 0".into());
    }
    let pixels = block * block;
    if to_depth {
        if height % block != 0 || width % block != 0 {
            return Err(format!("{height}x{width} pixels do not divide into blocks of {block}x{block}"));
        }
        return Ok(vec![batch, channels * pixels, height / block, width / block]);
    }
    if channels % pixels != 0 {
        return Err(format!("{channels} channels do not divide into blocks of {block}x{block}"));
    }
    Ok(vec![batch, channels / pixels, height * block, width * block])
}
