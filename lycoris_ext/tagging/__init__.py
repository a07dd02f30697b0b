"""Tag pictures with an ONNX tagger of the WD14 kind, and make captions of the tags.

The meaning, defaults and numbers are those of sd-scripts' tag_images_by_wd14_tagger.py. numpy and
onnxruntime (the extra [data]) are needed by the modules that compute, and by nothing below them.
"""
