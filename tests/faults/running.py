"""Faults of a run: checkpoints, resuming, seeds, validation, metrics, hooks."""

from .fault import Fault

PREVIOUS, FILES = (f'tas_mm/engine/checkpoints/{name}.py' for name in ('previous', 'files'))
RUNTIME, METHOD = 'tas_mm/engine/hooks/runtime', 'tas_mm/engine/hooks/distillation'
SEEDING, VAL_LOOP, METRICS = (f'tas_mm/engine/{name}.py' for name in ('seeding', 'val_loop', 'metrics'))
CHECKPOINTS = 'test_engine/test_checkpoints.py::'
RESUMING = 'test_engine/test_hooks/test_resuming.py::'
ELSEWHERE = 'test_engine/test_resume_elsewhere.py::'
SEEDS = 'test_engine/test_seeding.py::'
VALIDATION = 'test_engine/test_val_loop.py::'
FINITE = 'test_engine/test_hooks/test_check_finite_hook.py::'

FAULTS = [
    # ---- checkpoints ----
    Fault(
        'epoch_9 is newer than epoch_10',
        PREVIOUS,
        "others.sort(key=lambda path: (path.stat().st_mtime, int(path.stem.split('_')[1])), reverse=True)",
        'others.sort(key=lambda path: path.name, reverse=True)',
        f'{CHECKPOINTS}test_the_tenth_epoch_comes_after_the_ninth',
        'A resumed run does an epoch twice.',
    ),
    Fault(
        'a damaged checkpoint is resumed from',
        PREVIOUS,
        'problem = find_corruption(path) if path.is_file()',
        'problem = None if path.is_file()',
        f'{CHECKPOINTS}test_a_lost_checkpoint_is_named_and_the_one_before_taken',
        'A run that cannot be resumed after a crash.',
    ),
    Fault(
        'a run that begins anew can be resumed as the one before',
        PREVIOUS,
        '        pointer.unlink()\n',
        '',
        f'{CHECKPOINTS}test_an_earlier_run_is_archived_whole_and_still_goes_on',
        'Killed before its first checkpoint, it goes on as the earlier run.',
    ),
    Fault(
        'a file takes its name before it is on the disk',
        FILES,
        'os.fsync(file.fileno())',
        'pass',
        f'{CHECKPOINTS}test_the_file_is_on_the_disk_before_it_takes_its_name',
        'After a power cut the checkpoint is empty, and so is the one before.',
    ),
    Fault(
        'checksums are not compared',
        'tas_mm/models/loading.py',
        'broken = archive.testzip()',
        'broken = None',
        f'{CHECKPOINTS}test_corruption_is_found',
        'A flipped bit in the weights goes unnoticed.',
    ),
    Fault(
        'a checkpoint may run code',
        'tas_mm/models/loading.py',
        "os.environ[RESTRICT] = '1'",
        "os.environ[RESTRICT] = '0'",
        'test_models/test_loading.py::test_a_url_is_restricted_too',
        'A downloaded teacher that is a virus.',
    ),
    Fault(
        'the outdated checkpoint goes before the next is there',
        f'{RUNTIME}/checkpoint_hook.py',
        'outdated = self.keep_ckpt_ids[0]\n',
        'outdated = self.keep_ckpt_ids[0]\n                self._remove(self._path(outdated))\n',
        f'{RESUMING}test_a_full_disk_costs_nothing_that_was_saved',
        'A full disk costs the only checkpoint.',
    ),
    Fault(
        'the file of an outdated student stays',
        f'{RUNTIME}/checkpoint_hook.py',
        'for path in (checkpoint, student_path(checkpoint)):',
        'for path in (checkpoint,):',
        'test_student/test_export.py::test_every_checkpoint_has_its_student_beside_it_and_none_outlives_it',
        'Three hundred students fill the disk.',
    ),
    # ---- resuming ----
    Fault(
        'a validation that was cut off is left out',
        f'{RUNTIME}/catch_up_validation_hook.py',
        "if due and runner.message_hub.runtime_info.get('validated') != place:",
        'if False:',
        f'{RESUMING}test_a_validation_that_was_cut_off_comes_first',
        'The best checkpoint is not the best.',
    ),
    Fault(
        'steps of an epoch are counted on in the next',
        f'{RUNTIME}/seed_hook.py',
        '"""Start the next epoch at its first step."""\n        self.steps_done = 0',
        '"""Start the next epoch at its first step."""',
        f'{RESUMING}test_a_batch_sampler_of_ones_own_shuffles_anew_every_epoch_and_resumes',
        'The first epoch after resuming has no images.',
    ),
    Fault(
        'a run resumes by steps where images are meant',
        f'{RUNTIME}/seed_hook.py',
        'sampler.start_at(self.steps_done * loader.batch_sampler.batch_size)',
        'sampler.start_at(self.steps_done)',
        f'{ELSEWHERE}test_under_the_same_circumstances_the_next_image_comes',
        'Images are seen twice.',
    ),
    Fault(
        'a run resumes within an epoch under any circumstances',
        f'{RUNTIME}/seed_hook.py',
        'if before != now:',
        'if False:',
        f'{ELSEWHERE}test_under_others_an_error_says_what_differs',
        'With another batch size images are seen twice, or never.',
    ),
    Fault(
        'old metrics are logged again',
        VAL_LOOP,
        '        self._forget_old_metrics()\n',
        '',
        f'{RESUMING}test_resuming_forgets_no_validation_and_misses_no_metric',
        "The teacher's accuracy of the first epoch stands in every line.",
    ),
    # ---- seeds ----
    Fault(
        'a step is drawn by its number in the epoch',
        f'{RUNTIME}/seed_hook.py',
        "set_seed(f'step {runner.seed}/{get_dist_info()[0]}/{runner.iter}')",
        "set_seed(f'step {runner.seed}/{get_dist_info()[0]}/{batch_idx}')",
        f'{SEEDS}test_a_step_is_drawn_by_its_number_in_the_run_and_by_the_process',
        'Every epoch drops and mixes the same.',
    ),
    Fault(
        'a step is drawn alike in all processes',
        f'{RUNTIME}/seed_hook.py',
        "set_seed(f'step {runner.seed}/{get_dist_info()[0]}/{runner.iter}')",
        "set_seed(f'step {runner.seed}/{runner.iter}')",
        f'{SEEDS}test_a_step_is_drawn_by_its_number_in_the_run_and_by_the_process',
        'Eight GPUs drop the same paths, and mix by the same factor.',
    ),
    Fault(
        "numpy's generator is not set",
        SEEDING,
        'np.random.seed(random.getrandbits(32))',
        'random.getrandbits(32)',
        f'{SEEDS}test_images_are_drawn_by_their_place_whatever_ran_before',
        'RandAugment draws alike in all data workers.',
    ),
    Fault(
        'an image is drawn by its place in its process',
        SEEDING,
        '{number * self.world_size + self.rank}',
        '{number}',
        f'{SEEDS}test_any_number_of_processes_draws_the_same',
        'All GPUs crop alike.',
    ),
    Fault(
        'the sampler does not hear of the next epoch',
        SEEDING,
        '            self.sampler.set_epoch(epoch)\n',
        '            pass\n',
        f'{RESUMING}test_a_batch_sampler_of_ones_own_shuffles_anew_every_epoch_and_resumes',
        'The same order in every epoch.',
    ),
    # ---- validation and metrics ----
    Fault(
        "the teacher's metrics stand under the student's name",
        VAL_LOOP,
        "metrics.update({f'{role}.{key}': value for key, value in evaluator.evaluate(size).items()})",
        'metrics.update(evaluator.evaluate(size))',
        f'{VALIDATION}test_roles_by_interval_each_under_its_key',
        'The best checkpoint is chosen by the teacher.',
    ),
    Fault(
        'all networks are validated by one evaluator',
        METRICS,
        'copied = deepcopy(evaluator)',
        'copied = evaluator',
        f'{VALIDATION}test_the_students_metric_is_the_plain_loops',
        'An accuracy of student and teacher together.',
    ),
    Fault(
        'the assistant is validated one time too late',
        VAL_LOOP,
        'bool(self.assistant_interval) and n % self.assistant_interval == 0',
        'bool(self.assistant_interval) and (n - 1) % self.assistant_interval == 0',
        f'{VALIDATION}test_roles_by_interval_each_under_its_key',
        'The last epoch, which the tables show, has no assistant.',
    ),
    Fault(
        'hooks hear twice of a validation',
        VAL_LOOP,
        "self.runner.call_hook('before_val_epoch')\n",
        "self.runner.call_hook('before_val_epoch')\n        self.runner.call_hook('before_val_epoch')\n",
        f'{VALIDATION}test_with_ema_the_averaged_weights_are_validated_and_then_put_back',
        'With EMA training goes on with the averaged weights.',
    ),
    Fault(
        "a teacher's predictions are written over the student's",
        METRICS,
        "setattr(metric, name, path.join(folder, f'{role}.{file}' if file not in ('', '.') else role))",
        'pass',
        'test_engine/test_metrics.py::test_what_an_evaluator_writes_for_another_network_goes_elsewhere',
        "Somebody submits the assistant's predictions.",
    ),
    # ---- checks ----
    Fault(
        'the teacher is measured on the first images',
        f'{METHOD}/check_teacher_hook.py',
        'spread = np.linspace(0, len(source.dataset), images, endpoint=False).astype(int)',
        'spread = np.arange(images)',
        'test_engine/test_hooks/test_check_teacher_hook.py::test_the_part_is_spread_over_the_set',
        'Sorted sets show one class, which says nothing.',
    ),
    Fault(
        'no teacher is near chance',
        f'{METHOD}/check_teacher_hook.py',
        'if accuracy < chance + _three_errors(chance, images):',
        'if accuracy < chance - _three_errors(chance, images):',
        'test_engine/test_hooks/test_check_teacher_hook.py::test_a_teacher_near_chance_is_warned_of',
        'A teacher with its classes in another order teaches for a week.',
    ),
    Fault(
        'a good assistant is warned of',
        f'{METHOD}/warn_weak_assistant_hook.py',
        'if not 0 < assistant < student:',
        'if not 0 < student < assistant:',
        'test_engine/test_hooks/test_warn_weak_assistant_hook.py',
        'Advice that makes things worse.',
    ),
    Fault(
        'gradients are not looked at',
        f'{RUNTIME}/check_finite_hook.py',
        "values['gradient'] = float(self.gradient)",
        'pass',
        f'{FINITE}test_the_run_stops_with_names_iteration_and_the_last_good_checkpoint',
        'NaN weights are noticed one step too late.',
    ),
    Fault(
        'statistics of a dropped step stay',
        f'{RUNTIME}/check_finite_hook.py',
        'buffer.copy_(good) if bad else good.copy_(buffer)',
        'pass',
        f'{FINITE}test_skipped_iterations_leave_weights_optimizer_and_statistics_alone',
        'NaN in the running statistics for good.',
    ),
    Fault(
        'labels out of range are let through',
        f'{RUNTIME}/check_data_hook.py',
        'if self.classes and label is not None and not',
        'if False and not',
        'test_bad_inputs.py::test_a_bad_input_gets_an_error_that_says_so[a label out of range]',
        'On a GPU an error of CUDA without a name.',
    ),
]
