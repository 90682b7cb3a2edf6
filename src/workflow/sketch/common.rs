//! The fields of the node classes that most workflows are made of, in the order in which editors save their values.
//!
//! Older editors and cleaned-up files save values without names. For these classes the names have stayed the same over the
//! years; newer fields were added at the end. Observed from `ComfyUI` 0.8.0 and its recorded files.

/// Class → its fields as `name:TYPE`; a `+` says that the control widget of a seed follows.
const COMMON: &[(&str, &str)] = &[
    ("BasicScheduler", "scheduler:COMBO steps:INT denoise:FLOAT"),
    ("CFGGuider", "cfg:FLOAT"),
    ("CLIPLoader", "clip_name:COMBO type:COMBO device:COMBO"),
    ("CLIPSetLastLayer", "stop_at_clip_layer:INT"),
    ("CLIPTextEncode", "text:STRING"),
    (
        "CLIPTextEncodeFlux",
        "clip_l:STRING t5xxl:STRING guidance:FLOAT",
    ),
    (
        "CLIPTextEncodeSDXL",
        "width:INT height:INT crop_w:INT crop_h:INT target_width:INT target_height:INT text_g:STRING text_l:STRING",
    ),
    ("CLIPVisionEncode", "crop:COMBO"),
    ("CLIPVisionLoader", "clip_name:COMBO"),
    ("CheckpointLoader", "config_name:COMBO ckpt_name:COMBO"),
    ("CheckpointLoaderSimple", "ckpt_name:COMBO"),
    ("ControlNetApply", "strength:FLOAT"),
    (
        "ControlNetApplyAdvanced",
        "strength:FLOAT start_percent:FLOAT end_percent:FLOAT",
    ),
    ("ControlNetLoader", "control_net_name:COMBO"),
    ("CreateVideo", "fps:FLOAT"),
    (
        "DualCLIPLoader",
        "clip_name1:COMBO clip_name2:COMBO type:COMBO device:COMBO",
    ),
    (
        "EmptyHunyuanLatentVideo",
        "width:INT height:INT length:INT batch_size:INT",
    ),
    (
        "EmptyImage",
        "width:INT height:INT batch_size:INT color:INT",
    ),
    ("EmptyLatentImage", "width:INT height:INT batch_size:INT"),
    ("EmptySD3LatentImage", "width:INT height:INT batch_size:INT"),
    ("FluxGuidance", "guidance:FLOAT"),
    ("GrowMask", "expand:INT tapered_corners:BOOLEAN"),
    ("ImageBlend", "blend_factor:FLOAT blend_mode:COMBO"),
    ("ImageBlur", "blur_radius:INT sigma:FLOAT"),
    ("ImageCompositeMasked", "x:INT y:INT resize_source:BOOLEAN"),
    (
        "ImagePadForOutpaint",
        "left:INT top:INT right:INT bottom:INT feathering:INT",
    ),
    (
        "ImageScale",
        "upscale_method:COMBO width:INT height:INT crop:COMBO",
    ),
    ("ImageScaleBy", "upscale_method:COMBO scale_by:FLOAT"),
    (
        "ImageScaleToTotalPixels",
        "upscale_method:COMBO megapixels:FLOAT",
    ),
    ("ImageSharpen", "sharpen_radius:INT sigma:FLOAT alpha:FLOAT"),
    (
        "KSampler",
        "seed:INT+ steps:INT cfg:FLOAT sampler_name:COMBO scheduler:COMBO denoise:FLOAT",
    ),
    (
        "KSamplerAdvanced",
        "add_noise:COMBO noise_seed:INT+ steps:INT cfg:FLOAT sampler_name:COMBO scheduler:COMBO start_at_step:INT \
         end_at_step:INT return_with_leftover_noise:COMBO",
    ),
    ("KSamplerSelect", "sampler_name:COMBO"),
    (
        "LatentUpscale",
        "upscale_method:COMBO width:INT height:INT crop:COMBO",
    ),
    ("LatentUpscaleBy", "upscale_method:COMBO scale_by:FLOAT"),
    ("LoadAudio", "audio:COMBO"),
    ("LoadImage", "image:COMBO"),
    ("LoadImageMask", "image:COMBO channel:COMBO"),
    ("LoadLatent", "latent:COMBO"),
    ("LoadVideo", "file:COMBO"),
    (
        "LoraLoader",
        "lora_name:COMBO strength_model:FLOAT strength_clip:FLOAT",
    ),
    (
        "LoraLoaderModelOnly",
        "lora_name:COMBO strength_model:FLOAT",
    ),
    ("ModelSamplingAuraFlow", "shift:FLOAT"),
    (
        "ModelSamplingFlux",
        "max_shift:FLOAT base_shift:FLOAT width:INT height:INT",
    ),
    ("ModelSamplingSD3", "shift:FLOAT"),
    ("PrimitiveFloat", "value:FLOAT"),
    ("PrimitiveInt", "value:INT+"),
    ("PrimitiveString", "value:STRING"),
    ("PrimitiveStringMultiline", "value:STRING"),
    ("RandomNoise", "noise_seed:INT+"),
    ("RepeatLatentBatch", "amount:INT"),
    (
        "SamplerCustom",
        "add_noise:BOOLEAN noise_seed:INT+ cfg:FLOAT",
    ),
    (
        "SaveAnimatedPNG",
        "filename_prefix:STRING fps:FLOAT compress_level:INT",
    ),
    (
        "SaveAnimatedWEBP",
        "filename_prefix:STRING fps:FLOAT lossless:BOOLEAN quality:INT method:COMBO",
    ),
    ("SaveAudio", "filename_prefix:STRING"),
    ("SaveImage", "filename_prefix:STRING"),
    ("SaveLatent", "filename_prefix:STRING"),
    (
        "SaveVideo",
        "filename_prefix:STRING format:COMBO codec:COMBO",
    ),
    (
        "SaveWEBM",
        "filename_prefix:STRING codec:COMBO fps:FLOAT crf:FLOAT",
    ),
    ("StyleModelLoader", "style_model_name:COMBO"),
    ("UNETLoader", "unet_name:COMBO weight_dtype:COMBO"),
    ("UpscaleModelLoader", "model_name:COMBO"),
    ("VAEEncodeForInpaint", "grow_mask_by:INT"),
    ("VAELoader", "vae_name:COMBO"),
];

/// A field of a common class.
pub(super) struct CommonField {
    pub name: &'static str,
    pub type_name: &'static str,
    /// Whether the control widget of a seed follows.
    pub has_control: bool,
}

/// The fields of a class that most workflows have, in the order of their saved values; none for other classes.
pub(super) fn fields_of(class_type: &str) -> impl Iterator<Item = CommonField> {
    COMMON
        .iter()
        .find(|(name, _)| *name == class_type)
        .map_or("", |(_, fields)| *fields)
        .split_ascii_whitespace()
        .filter_map(|field| {
            let (name, type_name) = field.split_once(':')?;
            Some(CommonField {
                name,
                type_name: type_name.trim_end_matches('+'),
                has_control: type_name.ends_with('+'),
            })
        })
}
