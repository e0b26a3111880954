// What the tests do in a page that no locator can: JupyterLab's own objects, by a notebook's path.
window.drive = (() => {
  const running = new Map();
  let gap = 0;
  const app = () => window.jupyterapp;
  const panel = path =>
    [...(app()?.shell.widgets('main') ?? [])].find(
      widget => widget.context?.path === path && widget.content?.widgets
    );
  const kernel = path => panel(path)?.sessionContext.session?.kernel;
  const until = condition =>
    new Promise(done => {
      const look = () => (condition() ? done() : setTimeout(look, 10));
      look();
    });
  const show = async path => {
    app().shell.activateById(panel(path).id);
    await until(() => app().shell.currentWidget === panel(path));
  };
  return {
    kernel,
    panel,
    show,
    cell: (path, index) => panel(path).content.widgets[index],
    isUp: () => Boolean(app()?.commands.hasCommand('docmanager:open')),
    isOpen: path => Boolean(panel(path)?.context.isReady && panel(path).content.widgets.length),
    isConnected: path => kernel(path)?.connectionStatus === 'connected',
    isIdle: path => !running.get(path) && kernel(path)?.status === 'idle',
    quiet() {
      for (const side of ['application:toggle-left-area', 'application:toggle-right-area'])
        if (app().commands.isToggled(side)) app().commands.execute(side);
    },
    async open(asked) {
      // A page does not learn by itself of kernels that came after it.
      await app().serviceManager.kernelspecs.refreshSpecs();
      await app().commands.execute('docmanager:open', asked);
    },
    // The promise of the cells is not waited for: a test goes on while they run.
    async run(path, command, index) {
      await show(path);
      panel(path).content.activeCellIndex = index;
      const add = count => running.set(path, (running.get(path) ?? 0) + count);
      add(1);
      app()
        .commands.execute(command)
        .catch(() => {})
        .finally(() => add(-1));
    },
    async close(path) {
      const closing = panel(path);
      if (!closing) return;
      await closing.sessionContext.shutdown();
      closing.context.model.dirty = false;
      closing.dispose();
    },
    watch() {
      let last = performance.now();
      gap = 0;
      setInterval(() => {
        const now = performance.now();
        gap = Math.max(gap, now - last);
        last = now;
      }, 20);
    },
    longestGap: () => gap
  };
})();
