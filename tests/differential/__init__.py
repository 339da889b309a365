"""Our verifier against another one, on hundreds of thousands of changed quotes and collateral sets."""
