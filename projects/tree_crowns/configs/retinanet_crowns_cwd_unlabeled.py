"""retinanet_crowns_cwd.py on tiles with boxes and, in the same batches, on all training tiles without boxes.

Make the teacher first: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py
Then: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_cwd_unlabeled.py
"""

_base_ = 'retinanet_crowns_cwd.py'

train_dataloader = dict(_base_.mixed_dataloader, _delete_=True)
