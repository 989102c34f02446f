"""Private inference of transformer models: what is computed, the programs of the parties, the command line.

hf, parameters, ranges      a HuggingFace folder as weights in fixed point, with bounds proven from them
architecture, terms         what both parties know of a model, and on which terms it is served
profiles                    whose functions stand for SoftMax, GeLU and LayerNorm
encoder, attention, heads   the model on shares
inference, model            a query from tokens to outputs, and its plan
server, client, session     the two parties; dealer: the third; stock, background: what is prepared ahead
emulation, accuracy         profiles on clear numbers, beside the clear-text model
cli                         the commands, and what they print
"""
