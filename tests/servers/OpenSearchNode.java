// One OpenSearch node for tests, in its own folder, on one port: arguments are the folder, the port,
// the folders that repositories may lie in (with commas), and settings as name=value.
import java.io.File;

import org.codelibs.opensearch.runner.OpenSearchRunner;

public class OpenSearchNode {
	public static void main(String[] args) throws Exception
	{
		int port = Integer.parseInt(args[1]);
		OpenSearchRunner runner = new OpenSearchRunner();
		runner.setMaxHttpPort(65535);
		Runtime.getRuntime().addShutdownHook(new Thread(() -> {
			try {
				runner.close();
			} catch (Exception e) {
				e.printStackTrace();
			}
		}));
		runner.onBuild((number, settings) -> {
			settings.put("http.port", port);
			settings.put("network.host", "127.0.0.1");
			settings.put("discovery.type", "single-node");
			settings.putList("node.roles", "cluster_manager", "data", "ingest");
			if (!args[2].isEmpty())
				settings.putList("path.repo", args[2].split(","));
			settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
			for (int i = 3; i < args.length; i++) {
				int equals = args[i].indexOf('=');
				settings.put(args[i].substring(0, equals), args[i].substring(equals + 1));
			}
		});
		runner.build(OpenSearchRunner.newConfigs().basePath(new File(args[0]).getPath())
				.numOfNode(1).clusterName("test").baseHttpPort(port - 1));
		Thread.currentThread().join();
	}
}
