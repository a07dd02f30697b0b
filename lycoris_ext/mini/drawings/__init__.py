"""Pictures drawn by code, on which the small base model, the judges and the demo's LoHa train."""
