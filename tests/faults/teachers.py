"""Faults of the teacher, several teachers, and the algorithm around them."""

from .fault import Fault

TEACHER, ENSEMBLE, CACHE, BUILD, WEIGHTS, NORMALIZATION = (
    f'tas_mm/models/teachers/{name}.py'
    for name in ('teacher', 'ensemble', 'cache', 'build', 'weights', 'normalization')
)
GROUP = 'tas_mm/models/distillers/distiller_group.py'
ALGORITHM = 'tas_mm/models/algorithms/tas.py'
TAS = 'test_models/test_tas.py::'
SEVERAL = 'test_models/test_several_teachers.py::'
CACHED = 'test_models/test_teacher_cache.py::'
TEACHERS = 'test_models/test_teachers.py::'
RESUMING = 'test_engine/test_hooks/test_resuming.py::'

FAULTS = [
    # ---- mode, gradient, precision ----
    Fault(
        'the teacher stays in training mode',
        TEACHER,
        'network.eval().requires_grad_(False)',
        'network.train().requires_grad_(False)',
        f'{TAS}test_teacher_is_bit_equal_before_and_after_training',
        'DropPath and batch statistics at work in the teacher.',
    ),
    Fault(
        'the teacher gets gradients',
        TEACHER,
        'network.eval().requires_grad_(False)',
        'network.eval()',
        f'{TAS}test_teacher_to_assistant_alone_reaches_projector_and_early_stages_only',
        'Memory for gradients that nobody uses, or a teacher that learns.',
    ),
    Fault(
        'the teacher is a part of the model',
        TEACHER,
        'self.dtype: torch.dtype | None = None',
        'self.dtype, self.registered = None, network',
        f'{TAS}test_teacher_is_in_no_optimizer_no_checkpoint_and_no_module_tree',
        'Its weights in every checkpoint and DDP bucket.',
    ),
    Fault(
        'copies of the model get a teacher of their own',
        TEACHER,
        "memo[id(self.network)] = self.network  # for the copy's views of it",
        'pass',
        f'{TAS}test_teacher_goes_along_to_another_precision_and_copies_share_its_weights',
        'EMA doubles the memory, and its assistant uses another late part.',
    ),
    Fault(
        'teacher_dtype has no effect',
        BUILD,
        'teacher.keep_in(getattr(torch, options.teacher_dtype))',
        'getattr(torch, options.teacher_dtype)',
        f'{TAS}test_a_teacher_in_bfloat16_teaches_much_the_same[swin to resnet]',
        'Twice the memory that the config asks for.',
    ),
    # ---- normalization ----
    Fault(
        'the shift comes before the scale',
        TEACHER,
        'images * self.scale + self.shift',
        '(images + self.shift) * self.scale',
        f'{TAS}test_each_network_sees_the_image_normalized_its_way',
        'The teacher sees images with a wrong mean.',
    ),
    Fault(
        'red and blue are never exchanged',
        TEACHER,
        'images.flip(1) if self.flip else images',
        'images',
        f'{TEACHERS}test_the_teacher_sees_its_own_order_mean_and_std',
        'A teacher for BGR sees RGB, some points worse, in silence.',
    ),
    Fault(
        "mean and std of timm's tag are ignored",
        NORMALIZATION,
        '_statistics(teacher.data_preprocessor) or _published_statistics(teacher)',
        '_statistics(teacher.data_preprocessor)',
        f'{TAS}test_a_timm_teacher_without_a_preprocessor_gets_what_its_tag_says',
        "A ViT of timm's that wants 0.5 and 0.5 sees ImageNet's.",
    ),
    Fault(
        'each teacher sees what the one before it saw',
        ENSEMBLE,
        'return tuple(teacher.observe(images, each) for teacher, each in zip(self.teachers, observer))',
        'seen = []\n        for teacher, each in zip(self.teachers, observer):\n'
        '            seen.append(teacher.observe(images, each))\n'
        '            images = teacher.normalized(images)\n        return tuple(seen)',
        f'{SEVERAL}test_each_teacher_sees_the_image_normalized_its_way',
        'Normalizations on top of each other from the second teacher on.',
    ),
    Fault(
        "the teacher is validated on the student's images",
        ALGORITHM,
        "logits['teacher'] = self.teacher.logits(inputs)",
        "logits['teacher'] = self.teacher.network(inputs, mode='tensor')",
        f'{TAS}test_the_teacher_is_validated_on_images_normalized_its_way',
        'A good teacher looks bad in the log.',
    ),
    # ---- cache ----
    Fault(
        'a cache fits any normalization',
        TEACHER,
        'own = dict(teacher=self.fingerprint(), normalization=normalization, dtype=dtype)',
        'own = dict(teacher=self.fingerprint(), dtype=dtype)',
        f'{CACHED}test_the_cache_of_the_same_weights_is_refused_where_they_see_or_compute_otherwise',
        'Logits for other images than the teacher would see.',
    ),
    Fault(
        'a cache fits any weights',
        TEACHER,
        'own = dict(teacher=self.fingerprint(),',
        'own = dict(teacher=type(self.network).__name__,',
        f'{CACHED}test_the_cache_of_another_teacher_is_refused',
        "The logits of last week's teacher.",
    ),
    Fault(
        'images are known by the sum of their pixels',
        CACHE,
        'return (bits * factors).sum(dim=1)',
        'return bits.sum(dim=1)',
        f'{CACHED}test_keys_tell_images_apart_and_are_integers_of_no_order',
        "A flipped image gets the other one's logits.",
    ),
    Fault(
        'logits that are not kept have no probability',
        CACHE,
        "('rest', left.log() + whole)",
        "('rest', left.log())",
        f'{CACHED}test_the_largest_logits_are_exact_and_the_rest_share_what_is_left',
        'A teacher that is surer, or less sure, than it was.',
    ),
    # ---- identity and weights ----
    Fault(
        'the fingerprint does not see the weights',
        WEIGHTS,
        'digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())',
        'pass',
        f'{RESUMING}test_another_teacher_is_refused_unless_it_is_meant',
        'A run goes on with another teacher.',
    ),
    Fault(
        'a teacher may change while a run is down',
        'tas_mm/engine/hooks/distillation/teacher_fingerprint_hook.py',
        "if not getattr(unwrap(runner.model), 'allow_teacher_change', False):",
        'if False:',
        f'{RESUMING}test_another_teacher_is_refused_unless_it_is_meant',
        'The same.',
    ),
    Fault(
        'running statistics may be missing',
        WEIGHTS,
        "name in parameters or name.endswith(('running_mean', 'running_var'))",
        'name in parameters',
        f'{TAS}test_statistics_that_are_missing_are_an_error_and_other_buffers_are_not',
        'A frozen network with statistics of 0 and 1 gives nonsense.',
    ),
    Fault(
        'weights may be NaN',
        WEIGHTS,
        'spoilt = [n for n, x in state.items() if n in parameters and not x.isfinite().all()]',
        'spoilt = []',
        'test_bad_inputs.py::test_a_bad_input_gets_an_error_that_says_so[weights of which some are NaN]',
        'NaN losses from the first step, far from their cause.',
    ),
    Fault(
        'a teacher without weights is not announced',
        BUILD,
        'if not _loads_weights(config):',
        'if False:',
        f'{TAS}test_a_teacher_without_weights_is_announced_loudly',
        'A student learns from noise for a week.',
    ),
    Fault(
        'a new head on a trained backbone is not announced',
        BUILD,
        'elif drawn := random_parameters(partial(_built, config), network):',
        'elif drawn := []:',
        f'{TEACHERS}test_a_trained_backbone_with_a_new_head_is_announced_loudly',
        'Random logits are distilled.',
    ),
    Fault(
        'raw weights are taken where timm takes the averaged',
        WEIGHTS,
        'if not averaged_first else (*AVERAGED, *RAW)',
        'if not averaged_first else (*RAW, *AVERAGED)',
        f'{TEACHERS}test_of_raw_and_averaged_weights_timms_file_gives_the_averaged_as_timm_does',
        'A teacher that is some tenths worse than its file says.',
    ),
    # ---- several teachers ----
    Fault(
        'weights of teachers have no effect',
        GROUP,
        'weights = self._weights_by_image(each) if self.by_image else self.weights',
        'weights = self._weights_by_image(each) if self.by_image else [1.0] * len(each)',
        f'{SEVERAL}test_weights_count',
        'Another mixture than the config says.',
    ),
    Fault(
        'without weights each teacher counts fully',
        BUILD,
        '[1 / count] * count if weights in',
        '[1.0] * count if weights in',
        f'{SEVERAL}test_two_copies_of_a_teacher_with_half_a_weight_each_teach_what_it_teaches_alone',
        'With two teachers distillation counts twice.',
    ),
    Fault(
        'teachers are averaged by their logits',
        ENSEMBLE,
        'teacher.logits(images).float().softmax(dim=1)',
        'teacher.logits(images).float()',
        f'{SEVERAL}test_together_they_predict_the_mean_of_their_probabilities',
        'The logged accuracy of the ensemble is of another ensemble.',
    ),
    Fault(
        'what is observed for one distiller goes to another',
        GROUP,
        'return tuple(reversed(seen)), output',
        'return tuple(seen), output',
        f'{SEVERAL}test_each_distiller_gets_what_it_asked_for',
        'With different assistants the run fails, or teaches the wrong stage.',
    ),
    Fault(
        'all teachers load the first file',
        BUILD,
        'for i, pair in enumerate(zip(teacher, checkpoints)):',
        'for i, pair in enumerate(zip(teacher, checkpoints[:1] * count)):',
        f'{SEVERAL}test_checkpoints_of_one_teacher_each',
        'One teacher, twice.',
    ),
    # ---- the algorithm ----
    Fault(
        'the assistant is validated with the head of the student',
        ALGORITHM,
        'distiller.run_assistant(student, teacher).logits',
        'student.logits',
        'test_models/test_distiller.py::test_the_assistant_is_made_of_both_networks_own_modules',
        "The assistant's accuracy is the student's.",
    ),
    Fault(
        'a stopped distillation leaves parameters without a gradient',
        ALGORITHM,
        'idle = [p.sum() for p in self.distiller.parameters() if p.requires_grad]',
        'idle = []',
        f'{TAS}test_a_stopped_distillation_trains_the_student_alone_and_leaves_no_parameter_without_gradient',
        'DDP stops in the epoch after.',
    ),
    Fault(
        'in-place modules overwrite records',
        'tas_mm/models/algorithms/build.py',
        'module.inplace = False',
        'pass',
        f'{TAS}test_a_recorder_before_an_in_place_module_reads_what_its_module_gave',
        'A recorder before a ReLU reads what comes after it.',
    ),
    Fault(
        'weights of another network load as nothing',
        ALGORITHM,
        'if not found:\n                raise ValueError(',
        'if not found:\n                ValueError(',
        f'{TAS}test_weights_of_the_student_alone_are_loaded_and_others_refused',
        'A student that starts at random where load_from was given.',
    ),
    Fault(
        'layer-wise decay does not see the student',
        ALGORITHM,
        "param_name.removeprefix('architecture.')",
        'param_name',
        f'{TAS}test_layer_wise_decay_gives_the_student_the_rates_that_it_has_alone',
        'All layers of a fine-tuned ViT get the rate of its head.',
    ),
    Fault(
        'options beside a named config are dropped',
        'tas_mm/config.py',
        'merged.merge_from_dict(dict(model=model))',
        'pass',
        f'{TAS}test_what_stands_beside_a_named_config_has_the_last_word',
        'A student of 1000 classes for a set of 5.',
    ),
]
