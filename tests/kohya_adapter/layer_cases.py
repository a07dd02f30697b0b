"""Arguments of sd-scripts' network modules for transformers, as their users write them."""

from __future__ import annotations

#: Families of tests/oracles/sd_scripts_models.py -> sets of arguments. The preset is the one whose
#: layers are those of the family's own module.
CASES: dict[str, list[dict[str, str]]] = {
    "flux": [
        {},
        {"img_attn_dim": "2", "txt_attn_dim": "0", "img_mlp_dim": "3", "txt_mlp_dim": "0"},
        {"img_mod_dim": "0", "txt_mod_dim": "5", "single_dim": "6", "single_mod_dim": "7"},
        {"in_dims": "[4,0,2,0,3]"},
        {"in_dims": "1, 2, 3, 4, 5", "single_dim": "0"},
        {"train_blocks": "double"},
        {"train_blocks": "single", "train_single_block_indices": "0-3,37"},
        {"train_blocks": "all"},
        {"train_double_block_indices": "none", "train_single_block_indices": "7"},
        {"train_double_block_indices": "all", "in_dims": "[1,1,1,1,1]"},
        {"train_double_block_indices": "0-1", "img_mlp_dim": "2"},
        {"network_reg_dims": "single_blocks_1[0-9]_=2,_img_mod_=0"},
        {"network_reg_dims": r"lora_te1_.*_q_proj$=3", "train_t5xxl": "True"},
        {"network_reg_lrs": "single_blocks=0.5,double_blocks_0_=0.25"},
        {"split_qkv": "False", "verbose": "True", "ggpo_beta": ""},
    ],
    "chroma": [{"single_dim": "2", "train_double_block_indices": "0,18"}],
    "sd3": [
        {},
        {"context_attn_dim": "2", "context_mlp_dim": "0", "context_mod_dim": "3"},
        {"x_attn_dim": "0", "x_mlp_dim": "5", "x_mod_dim": "6"},
        {"emb_dims": "[1,2,3,4,5,6]"},
        {"emb_dims": "0,0,0,4,0,0", "train_block_indices": "0-2,23"},
        {"train_block_indices": "none", "emb_dims": "[0,0,2,0,0,0]"},
        {"train_block_indices": "1-3", "x_attn_dim": "2", "train_t5xxl": "True"},
    ],
    "sd3.5-medium": [{"x_attn_dim": "2", "train_block_indices": "0-12"}],
    "lumina": [
        {},
        {"attn_dim": "2", "mlp_dim": "3", "mod_dim": "0", "refiner_dim": "5"},
        {"refiner_dim": "0", "embedder_dims": "[2,3,4]"},
        {"embedder_dims": "1,0,0", "mlp_dim": "7"},
        {"embedder_dims": "1,2,0", "mlp_dim": "7"},
        {"train_blocks": "transformer"},
        {"train_blocks": "refiners", "attn_dim": "2"},
        {"train_blocks": "noise_refiner", "embedder_dims": "0,0,2"},
        {"train_blocks": "context_refiner"},
    ],
    "hunyuan-image": [
        {"preset": "attn-mlp"},
        {"preset": "attn-mlp", "network_reg_dims": "single_blocks_[0-9]_=2,_img_mod_=0"},
        {"preset": "attn-mlp", "network_reg_lrs": "txt_attn=0.5"},
    ],
    "anima": [
        {"exclude_patterns": "[]"},
        {"exclude_patterns": r"['.*cross_attn.*', '.*mlp.*']"},
        {"exclude_patterns": "'.*mlp.*'", "include_patterns": r"['.*layer1', '.*final_layer.*']"},
        {"include_patterns": r"'.*_embedder.*'", "train_llm_adapter": "True"},
        {"include_patterns": "'.*'"},
        {"include_patterns": "['.*mod.*']", "network_reg_dims": r".*q_proj=2,.*v_proj=0"},
        {"exclude_patterns": "['layers.*']", "network_reg_lrs": r"blocks\.1\..*=0.5"},
    ],
}
#: Besides these: one alpha for every rank, and 0, which makes it as large as the rank.
ALPHAS = (4.0, 0.0)
