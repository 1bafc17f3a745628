-- Conditions that several queries share: `{stays}` in a query, or in a part that comes later, stands for what is here.

-- part: stays whether a task's row t stays what it is though a dead letter d of that task and generation is sent back: nothing
-- that has succeeded is undone, and one that says nothing of the task itself undoes no skipped step either
(t.state = 'succeeded' or (t.state = 'skipped' and (d.error_class = 'internal' or d.error = 'UnreadableRows')))

-- part: not_voided whether no dead letter that was sent back has made a task's row t void
not exists (
    select 1 from dead_letters d
    where d.item = t.item and d.node = t.node and d.element_path = t.element_path and d.generation = t.generation and d.state = 'redriven'
    and not {stays}
)
